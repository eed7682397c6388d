//! Programs that we did not write, unmodified, two gangs at once.

use serde_json::{Value, json};

use crate::Scenario;
use crate::jobs::{Jobs, image, job, rank, script};

pub(crate) const SCENARIOS: [Scenario; 4] = [
    Scenario::new("netpipe-twice", netpipe_twice),
    Scenario::new("mpi4py-twice", mpi4py_twice),
    Scenario::new("intel-mpi-twice", intel_mpi_twice),
    Scenario::new("environment-rendezvous-twice", environment_rendezvous_twice),
];

/// Of the programs of others.
const IMAGE: &str = "mpi-trial";

/// Up to a megabyte, without a file of results: the root file system is read-only.
const NETPIPE: [&str; 7] = ["NPmpich2", "-o", "/dev/null", "-u", "1048576", "-p", "0"];

/// Each rank sends its number around a ring, and the sum of all comes back.
const RING: &str = "
from mpi4py import MPI
world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()
token = 0
for turn in range(2000):
    token = world.sendrecv(token + rank, dest=(rank + 1) % size, source=(rank - 1) % size)
total = world.allreduce(rank)
print(f'ring: ranks={size} total={total} library={MPI.Get_library_version().splitlines()[0]}', flush=True)
";

/// The first rank listens, the other finds it by the environment alone.
const RENDEZVOUS: &str = "
if [ $RANK = 0 ]; then
    echo met $(nc -l -p $MASTER_PORT)
else
    until echo rank $RANK of $WORLD_SIZE | nc $MASTER_ADDR $MASTER_PORT 2>/dev/null; do sleep 0.1; done
fi";

fn trial(name: &str, command: &[&str], library: &str) -> Value {
    let mut job = job(name, command);
    let container = rank(&mut job);
    container["image"] = json!(image(IMAGE));
    container["env"] = json!([{ "name": "LD_LIBRARY_PATH", "value": library }]);
    job
}

/// Runs a job twice at once; gives what their first ranks said.
fn twice(jobs: &Jobs, make: impl Fn(&str) -> Value) -> [String; 2] {
    let names = ["first", "second"];
    for name in names {
        jobs.apply(&make(name));
    }
    names.map(|name| {
        jobs.wait("condition=Complete", name);
        jobs.namespace.run(&["logs", &jobs.pod(name, 0)]).unwrap()
    })
}

fn netpipe_twice(jobs: &Jobs) {
    for said in twice(jobs, |name| trial(name, &NETPIPE, "/opt/mpich")) {
        assert!(said.contains("1048576 bytes"), "{said}");
    }
}

fn mpi4py_twice(jobs: &Jobs) {
    let make = |name: &str| {
        let mut job = trial(name, &["python3", "-c", RING], "/opt/mpich");
        let environment = rank(&mut job)["env"].as_array_mut().unwrap();
        environment.push(json!({ "name": "PYTHONHOME", "value": "/opt/python" }));
        job
    };
    for said in twice(jobs, make) {
        assert!(said.contains("ring: ranks=2 total=1 library=MPICH"), "{said}");
    }
}

fn intel_mpi_twice(jobs: &Jobs) {
    let sor = ["sor", "--rows", "64", "--columns", "64", "--iterations", "2000"];
    let make = |name: &str| {
        let mut job = trial(name, &sor, "/opt/intel");
        let environment = rank(&mut job)["env"].as_array_mut().unwrap();
        for (name, value) in [("FI_PROVIDER_PATH", "/opt/intel"), ("FI_PROVIDER", "tcp"), ("I_MPI_DEBUG", "1")] {
            environment.push(json!({ "name": name, "value": value }));
        }
        job
    };
    for said in twice(jobs, make) {
        assert!(said.contains("sor: ok ranks=2"), "{said}");
        assert!(said.contains("Intel(R) MPI Library"), "another library than Intel's: {said}");
    }
}

fn environment_rendezvous_twice(jobs: &Jobs) {
    let make = |name: &str| {
        let mut job = script(name, RENDEZVOUS);
        job["spec"]["launch"] = json!({ "protocol": "env" });
        job
    };
    for said in twice(jobs, make) {
        assert!(said.contains("met rank 1 of 2"), "{said}");
    }
}
