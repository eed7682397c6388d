//! What an agent of a run is told to start a gang.

use std::{io, path::Path};

use strobe_authority::protocol;
use strobe_core::{
    authority::Launches,
    model::{GangRun, NodeIncarnation},
};
use strobe_proto::agent::{EnvironmentVariable, Launch, LocalSupervisor, launch::Supervisor};

use super::{manifests::PreparedJob, output::Outputs};

/// What a supervisor is started with, beside its gang's placement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    /// The job.
    pub job: &'a PreparedJob,
    /// The folder of all logs.
    pub logs: &'a Path,
}

impl Order<'_> {
    /// What an agent is told to start its part of a gang. None when the gang's life is over.
    ///
    /// # Errors
    /// When the folder of the logs or the pipe cannot be made.
    pub(super) fn launch(
        self,
        launches: &mut Launches,
        agent: NodeIncarnation,
        run: GangRun,
        outputs: &mut Outputs,
    ) -> io::Result<Option<Launch>> {
        let Some((placement, first)) = launches.tell(agent, run) else { return Ok(None) };
        let output = if first { outputs.open(run, agent.node)? } else { outputs.path(run, agent.node) };
        let PreparedJob { job, launch: program } = self.job;
        let logs = self.logs.join(format!("{}-{}", job.name, run.incarnation));
        std::fs::create_dir_all(&logs)?;
        let variable = |(name, value): &(String, String)| EnvironmentVariable { name: name.clone(), value: value.clone() };
        let supervisor = LocalSupervisor {
            command: program.command.clone(),
            environment: program.environment.iter().map(variable).collect(),
            working_directory: program.working_directory.display().to_string(),
            log_directory: logs.display().to_string(),
            output: output.display().to_string(),
        };
        Ok(Some(Launch {
            run: Some(run.into()),
            name: job.name.clone(),
            protocol: protocol(job.launch).to_owned(),
            placement: placement.iter().map(Into::into).collect(),
            cpus_per_rank: job.cpus_per_rank.get(),
            supervisor: Some(Supervisor::Local(supervisor)),
        }))
    }
}
