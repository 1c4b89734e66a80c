//! Three masters that are one Redis Cluster.

use std::fmt::Display;

use bytes::Bytes;
use tollgate_core::store::Value;

use tollgate_tests::redis::{Redis, Server, eventually, free_port};

const SLOTS: u16 = 16_384;

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    ids: Vec<String>,
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        let buses: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let start = |bus: &u16| {
            let bus = bus.to_string();
            Server::start_with(free_port(), &["--cluster-enabled", "yes", "--cluster-port", &bus])
        };
        let mut nodes: Vec<Server> = buses.iter().map(start).collect();
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        let share = SLOTS.div_ceil(3);
        for (index, node) in nodes.iter_mut().enumerate() {
            let first = share * index as u16;
            let last = (first + share).min(SLOTS) - 1;
            ok(node.words(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]));
            ok(node.words(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]));
        }
        for (port, bus) in ports.iter().zip(&buses).skip(1) {
            ok(nodes[0].words(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus.to_string()]));
        }
        for node in &mut nodes {
            eventually("the cluster is whole", || match text(node.words(&["CLUSTER", "INFO"])) {
                info if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") => Ok(()),
                info => Err(info),
            });
        }
        let ids = nodes.iter_mut().map(|node| text(node.words(&["CLUSTER", "MYID"]))).collect();
        Cluster { nodes, ids }
    }

    pub(crate) fn owner(&mut self, key: impl Display) -> usize {
        let slot = self.slot(key);
        (slot / i64::from(SLOTS.div_ceil(3))) as usize
    }

    pub(crate) fn slot(&mut self, key: impl Display) -> i64 {
        match self.nodes[0].words(&["CLUSTER", "KEYSLOT", &key.to_string()]) {
            Value::Integer(slot) => slot,
            other => panic!("a slot is a number, not {other:?}"),
        }
    }

    /// Gives a slot without keys to another node, or begins to.
    pub(crate) fn assign(&mut self, slot: i64, from: usize, to: usize, stage: Stage) {
        let slot = slot.to_string();
        let (from_id, to_id) = (self.ids[from].clone(), self.ids[to].clone());
        match stage {
            Stage::Moving => {
                ok(self.nodes[to].words(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]));
                ok(self.nodes[from].words(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]));
            }
            Stage::Moved => {
                for node in [to, from] {
                    ok(self.nodes[node].words(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]));
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Stage {
    Moving,
    Moved,
}

impl Redis for Cluster {
    /// To the node that the first one names, if it is not that one itself.
    fn send(&mut self, command: &[Bytes]) -> Value {
        let answer = self.nodes[0].send(command);
        let Value::Error(message) = &answer else { return answer };
        let Some(address) = message.strip_prefix("MOVED ") else { return answer };
        let port: u16 = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap();
        let node = self.nodes.iter_mut().find(|node| node.port == port);
        node.expect("one of the three").send(command)
    }
}

fn ok(answer: Value) {
    assert_eq!(answer, Value::Status("OK".into()));
}

fn text(answer: Value) -> String {
    match answer {
        Value::Text(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("a text, not {other:?}"),
    }
}
