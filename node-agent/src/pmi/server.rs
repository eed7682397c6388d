//! The PMI-1 server of one node of a gang.
//!
//! Keys put by this node's ranks are readable here at once and elsewhere after the next barrier: when all
//! local ranks are in it, the node's new keys go out as one block, and the ranks go on when the block of
//! all nodes is back (ARCHITECTURE section 7). A gang of one node needs nobody and goes on at once.
//! With a group's barrier go the keys of its ranks, to its nodes; a group within one node needs nobody either.

mod barriers;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    block::{self, BlockError},
    groups::Groups,
    limits,
    line::{ABORT, Line, LineBuffer},
    puts::Puts,
};
use barriers::Waiting;

use crate::supervisor_protocol::{BarrierFault, BarrierGroup};

const VERSION: &str = "1";
/// Since 1.2 barriers may have groups. Clients ask for 1.1 and use what the answer says.
const SUBVERSION: &str = "2";
const RANK_LEFT: &str = "a_rank_left";

/// Position of a rank among those of its node, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalRank(pub u32);

/// What the server must know of the gang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PmiSettings {
    /// Name of the key-value space, unique per gang incarnation.
    pub key_space: String,
    /// First rank of this node.
    pub first_rank: u32,
    /// Ranks on this node.
    pub rank_count: u32,
    /// Ranks of the gang.
    pub world_size: u32,
    /// Nodes of the gang.
    pub nodes: u32,
    /// Ranks on every node.
    pub ranks_per_node: u32,
}

/// What the server wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PmiEffect {
    /// Write these bytes to the rank's connection.
    Reply {
        /// The rank.
        rank: LocalRank,
        /// Whole lines.
        bytes: Vec<u8>,
    },
    /// All local ranks are in the barrier; the other nodes are to be told.
    BarrierEntered {
        /// Number of the barrier, from 1.
        number: u64,
        /// This node's new keys.
        block: Vec<u8>,
    },
    /// All ranks that a group has here are in its barrier; its other nodes are to be told.
    GroupEntered(GroupEntered),
    /// Ranks wait for one that has left, or were told that their barrier failed: the gang cannot wire up.
    BarrierFailed {
        /// Why.
        fault: BarrierFault,
    },
    /// The rank wants the gang to end.
    Aborted {
        /// The rank.
        rank: LocalRank,
        /// Exit code that it asks for.
        code: i32,
        /// What it said.
        explanation: String,
    },
}

/// The barrier of a group that needs other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntered {
    /// Names the barrier, see [`crate::supervisor_protocol::ToAgent::PmiGroupBarrier`].
    pub ticket: u64,
    /// The group.
    pub group: BarrierGroup,
    /// Keys of its ranks here that its other nodes do not have.
    pub block: Vec<u8>,
}

/// Why the answer to a barrier is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BarrierError {
    /// No barrier of that number is waiting; an answer that came twice.
    #[error("barrier {number} is not waiting for an answer")]
    NotWaiting {
        /// The number.
        number: u64,
    },
    /// The block is not what servers write; the barrier has failed.
    #[error("the block of barrier {number} is malformed")]
    BadBlock {
        /// The number.
        number: u64,
        /// What is wrong in it.
        #[source]
        source: BlockError,
    },
    /// The keys do not fit; the barrier has failed.
    #[error("the keys of barrier {number} do not fit into {limit} bytes")]
    SpaceFull {
        /// The number.
        number: u64,
        /// The limit.
        limit: usize,
    },
}

/// The server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PmiServer {
    settings: PmiSettings,
    keys: BTreeMap<String, String>,
    key_bytes: usize,
    puts: Puts,
    clients: Vec<Client>,
    entered: BTreeSet<LocalRank>,
    barriers: u64,
    waiting: Option<Waiting>,
    groups: Groups,
    failed: Option<Failure>,
}

/// Why no barrier can complete any more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    explanation: String,
    /// What the agent is told when ranks meet it. None where it knows, or will hear of the end of a rank that is the cause.
    fault: Option<BarrierFault>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Client {
    lines: LineBuffer,
    phase: ClientPhase,
    skips_to_end: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ClientPhase {
    #[default]
    New,
    Initialised,
    Finalised,
    Disconnected,
}

/// Either the reply to a command, or the text of the error.
type Answer = Result<String, &'static str>;

impl BarrierError {
    /// What the agent does not know of it; none for an answer that changed nothing.
    const fn fault(&self) -> Option<BarrierFault> {
        match self {
            Self::NotWaiting { .. } => None,
            Self::BadBlock { .. } => Some(BarrierFault::Damaged),
            Self::SpaceFull { .. } => Some(BarrierFault::SpaceFull),
        }
    }
}

impl PmiServer {
    /// A server that no rank has spoken to.
    #[must_use]
    pub fn new(settings: PmiSettings) -> Self {
        let clients = vec![Client::default(); settings.rank_count as usize];
        let mapping = format!("(vector,(0,{},{}))", settings.nodes, settings.ranks_per_node);
        let keys = BTreeMap::from([("PMI_process_mapping".to_owned(), mapping)]);
        Self {
            settings,
            keys,
            key_bytes: 0,
            puts: Puts::default(),
            clients,
            entered: BTreeSet::new(),
            barriers: 0,
            waiting: None,
            groups: Groups::default(),
            failed: None,
        }
    }

    /// Takes bytes that a rank wrote.
    ///
    /// # Panics
    /// If the rank is not one of this node's: the caller owns the connections.
    pub fn receive(&mut self, rank: LocalRank, bytes: &[u8], effects: &mut Vec<PmiEffect>) {
        for line in self.client(rank).lines.push(bytes) {
            let answered = match &line {
                Ok(line) => Line::parse(line).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let is_end = line.as_deref().is_ok_and(|line| line.trim_ascii_end() == b"endcmd");
            if self.client(rank).skips_to_end {
                self.skip(rank, is_end, effects);
                continue;
            }
            match answered {
                Ok(line) => self.obey(rank, &line, effects),
                Err(explanation) => reply(rank, &failure("error", &explanation), effects),
            }
        }
    }

    /// Notes that a rank's connection is closed. A barrier that others wait in cannot complete any more.
    ///
    /// # Panics
    /// If the rank is not one of this node's.
    pub fn disconnected(&mut self, rank: LocalRank, effects: &mut Vec<PmiEffect>) {
        self.leave(rank, ClientPhase::Disconnected, effects);
    }

    fn client(&mut self, rank: LocalRank) -> &mut Client {
        &mut self.clients[rank.0 as usize]
    }

    fn skip(&mut self, rank: LocalRank, is_end: bool, effects: &mut Vec<PmiEffect>) {
        if is_end {
            self.client(rank).skips_to_end = false;
            reply(rank, &failure("spawn_result", "spawn_is_not_supported"), effects);
        }
    }

    fn obey(&mut self, rank: LocalRank, line: &Line<'_>, effects: &mut Vec<PmiEffect>) {
        if line.multiple {
            self.client(rank).skips_to_end = true;
            return;
        }
        match line.command {
            "barrier_in" => self.enter_barrier(rank, line, effects),
            ABORT => abort(rank, line, effects),
            "finalize" => {
                reply(rank, "cmd=finalize_ack", effects);
                self.leave(rank, ClientPhase::Finalised, effects);
            }
            command => {
                let (name, answer) = self.answer(rank, command, line);
                let text = answer.unwrap_or_else(|explanation| failure(name, explanation));
                reply(rank, &text, effects);
            }
        }
    }

    /// The commands that concern nobody but the rank: name of the reply, and the reply.
    fn answer(&mut self, rank: LocalRank, command: &str, line: &Line<'_>) -> (&'static str, Answer) {
        match command {
            "init" => ("response_to_init", self.init(rank, line)),
            "initack" => ("initack", self.init_acknowledge(rank, line)),
            _ if self.client(rank).phase != ClientPhase::Initialised => ("error", Err("not_initialised")),
            "get_maxes" => ("maxes", Ok(maxes())),
            "get_appnum" => ("appnum", Ok("cmd=appnum appnum=0".to_owned())),
            "get_my_kvsname" => ("my_kvsname", Ok(format!("cmd=my_kvsname kvsname={}", self.settings.key_space))),
            "get_universe_size" => ("universe_size", Ok(format!("cmd=universe_size size={}", self.settings.world_size))),
            "put" => ("put_result", self.put(rank, line)),
            "get" => ("get_result", self.get(line)),
            "spawn" => ("spawn_result", Err("spawn_is_not_supported")),
            "publish_name" => ("publish_result", Err("name_service_is_not_supported")),
            "unpublish_name" => ("unpublish_result", Err("name_service_is_not_supported")),
            "lookup_name" => ("lookup_result", Err("name_service_is_not_supported")),
            _ => ("error", Err("unknown_command")),
        }
    }

    fn init(&mut self, rank: LocalRank, line: &Line<'_>) -> Answer {
        if line.field("pmi_version") != Some(VERSION) {
            return Err("version_is_not_supported");
        }
        self.client(rank).phase = ClientPhase::Initialised;
        Ok(format!("cmd=response_to_init rc=0 pmi_version={VERSION} pmi_subversion={SUBVERSION}"))
    }

    fn init_acknowledge(&mut self, rank: LocalRank, line: &Line<'_>) -> Answer {
        let world_rank = self.settings.first_rank + rank.0;
        let claimed: Option<u32> = line.field("pmiid").and_then(|text| text.parse().ok());
        if claimed != Some(world_rank) {
            return Err("rank_is_not_this_connection's");
        }
        let size = self.settings.world_size;
        Ok(format!("cmd=initack\ncmd=set size={size}\ncmd=set rank={world_rank}\ncmd=set debug=0"))
    }

    fn put(&mut self, rank: LocalRank, line: &Line<'_>) -> Answer {
        self.check_space(line)?;
        let key = line.field("key").ok_or("no_key")?;
        let value = line.field("value").ok_or("no_value")?;
        if key.len() > limits::KEY_BYTES {
            return Err("key_too_long");
        }
        if value.len() > limits::VALUE_BYTES {
            return Err("value_too_long");
        }
        if !block::is_pair(key, value) {
            return Err("key_or_value_is_not_printable");
        }
        if !self.puts.has_room(key, value) {
            return Err("too_many_keys_before_the_barrier");
        }
        self.insert(key, value)?;
        // A node alone has nobody to tell.
        if self.settings.nodes > 1 {
            self.puts.push(rank, key, value);
        }
        Ok("cmd=put_result rc=0 msg=success".to_owned())
    }

    fn get(&self, line: &Line<'_>) -> Answer {
        self.check_space(line)?;
        let key = line.field("key").ok_or("no_key")?;
        let value = self.keys.get(key).ok_or("key_not_found")?;
        Ok(format!("cmd=get_result rc=0 msg=success value={value}"))
    }

    fn check_space(&self, line: &Line<'_>) -> Result<(), &'static str> {
        if line.field("kvsname") == Some(&self.settings.key_space) { Ok(()) } else { Err("unknown_kvsname") }
    }

    /// The later of two values for a key wins.
    fn insert(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        let before = self.keys.get(key).map_or(0, |old| block::pair_bytes(key, old));
        let after = self.key_bytes + block::pair_bytes(key, value);
        if after > limits::SPACE_BYTES {
            return Err("key_value_space_is_full");
        }
        self.key_bytes = after.saturating_sub(before);
        self.keys.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}

impl ClientPhase {
    /// Why a barrier cannot complete that waits for such a rank. The end of one that has not finalised is told anyway.
    fn failure(self) -> Option<Failure> {
        let fault = match self {
            Self::New | Self::Initialised => return None,
            Self::Finalised => Some(BarrierFault::RankLeft),
            Self::Disconnected => None,
        };
        Some(Failure { explanation: RANK_LEFT.to_owned(), fault })
    }
}

fn abort(rank: LocalRank, line: &Line<'_>, effects: &mut Vec<PmiEffect>) {
    let code = line.field("exitcode").and_then(|text| text.parse().ok()).unwrap_or(1);
    // PMI 1.2 and MPICH say `message`, older clients `error_msg`.
    let text = line.text_after("message").or_else(|| line.text_after("error_msg"));
    let mut explanation = text.unwrap_or_default().to_owned();
    // The line is ASCII, so that every index is a character's border.
    explanation.truncate(limits::EXPLANATION_BYTES);
    effects.push(PmiEffect::Aborted { rank, code, explanation });
}

fn maxes() -> String {
    let (name, key, value) = (limits::SPACE_NAME_BYTES, limits::KEY_BYTES, limits::VALUE_BYTES);
    format!("cmd=maxes kvsname_max={name} keylen_max={key} vallen_max={value}")
}

fn failure(name: &str, explanation: &str) -> String {
    let message: String = explanation.chars().map(|character| if character.is_ascii_graphic() { character } else { '_' }).collect();
    format!("cmd={name} rc=-1 msg={message}")
}

fn reply(rank: LocalRank, text: &str, effects: &mut Vec<PmiEffect>) {
    effects.push(PmiEffect::Reply { rank, bytes: format!("{text}\n").into_bytes() });
}
