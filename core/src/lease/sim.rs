//! A fleet, a network and a Redis in simulated time, all drawn from one seed.
//!
//! Nodes crash, their clocks drift, messages are lost, repeated, delayed and overtaken, and Redis' clock is set back.
//! Whatever happens, the bounds hold over all intervals. Three mutants must break them, or this would prove nothing.

mod judge;
mod scene;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::*;
use crate::config::Algorithm;
use crate::seed::Seed;
use crate::store::model::Model;
use crate::store::{Key, Part, Returned, TTL_SLACK_MS, Value};
use scene::{Faults, Scene, scene};

const TIMEOUT_US: u64 = 50_000;
const START_US: u64 = 1_795_000_000_000_000;
const RUNS: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    /// The root does not remember which grants came back, and a repeated return is credited twice.
    ReturnedTwice,
    /// The root's time is the wall's instead of the later of that and the last seen. A token bucket then takes everything
    /// for paid off.
    LostMax,
    /// An answer to an earlier sending is taken for the answer to the later one.
    Superseded,
}

struct Node {
    lease: Lease,
    /// Local time runs at this many millionths of real time.
    speed_ppm: u64,
    offset_us: u64,
    alive: bool,
    asked: HashMap<u64, (Acquire, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { node: usize },
    Root { node: usize, question: u64, sending: u32, op: usize },
    Answer { node: usize, question: u64, sending: u32, granted: usize },
    Timeout { node: usize, question: u64, sending: u32 },
    Idle { node: usize },
    Kill { node: usize },
    Back { by_us: u64 },
}

struct Sim {
    scene: Scene,
    seed: Seed,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    nodes: Vec<Node>,
    model: Model,
    key: Key,
    back_us: u64,
    /// Steps back beyond the horizon, after which windows count anew.
    epoch: u64,
    /// Of each generation, the epoch and the window.
    windows: HashMap<u64, (u64, u64)>,
    spent_of: HashMap<(u64, u64), u64>,
    operations: Vec<Operation>,
    /// Answers on their way, and when the root gave them.
    answers: Vec<(Granted, u64)>,
    /// Of each node's acquire by its number, when the root decided on what is held of it.
    decided: HashMap<(usize, u32), u64>,
    spends: Vec<(u64, u64)>,
    undecided: u64,
}

type Verdict = Result<(), String>;

impl Sim {
    fn new(scene: Scene, seed: u64) -> Sim {
        let mut seed = Seed::new(seed);
        let nodes = (0..scene.nodes)
            .map(|_| Node {
                lease: Lease::default(),
                // Each clock within half of the assumed drift between two.
                speed_ppm: 1_000_000 - DRIFT_PPM / 2 + seed.draw() % (DRIFT_PPM + 1),
                offset_us: seed.draw() % 1_000_000_000,
                alive: true,
                asked: HashMap::new(),
            })
            .collect();
        let key = Key::leased(Part::Plain("t"), Part::Plain("s"), "l", &scene.terms.rule);
        let mut sim = Sim {
            scene,
            seed,
            events: BinaryHeap::new(),
            count: 0,
            nodes,
            model: Model::default(),
            key,
            back_us: 0,
            epoch: 0,
            windows: HashMap::new(),
            spent_of: HashMap::new(),
            operations: Vec::new(),
            answers: Vec::new(),
            decided: HashMap::new(),
            spends: Vec::new(),
            undecided: 0,
        };
        sim.schedule_all();
        sim
    }

    fn schedule_all(&mut self) {
        let (nodes, horizon_us) = (self.scene.nodes, self.scene.horizon_us);
        for _ in 0..self.scene.requests {
            // Half of the load comes to one node, and in one tenth of the time.
            let node = if self.chance(2) { 0 } else { self.below(nodes) } as usize;
            let at = if self.chance(2) { self.below(horizon_us) } else { self.below(horizon_us / 10) };
            self.at(at, Event::Arrive { node });
        }
        for node in 0..nodes as usize {
            for _ in 0..4 {
                let at = self.below(horizon_us);
                self.at(at, Event::Idle { node });
            }
        }
        for _ in 0..self.below(3) {
            let (at, node) = (self.below(horizon_us), self.below(nodes) as usize);
            self.at(at, Event::Kill { node });
        }
        for _ in 0..self.below(3) {
            let horizon = self.scene.terms.rule.horizon_us();
            let far = self.scene.mutant.is_none() && self.chance(4);
            let by_us = if far { horizon + self.below(2 * horizon) } else { self.below(horizon) };
            let at = self.below(horizon_us);
            self.at(at, Event::Back { by_us });
        }
    }

    fn run(mut self) -> Verdict {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            match event {
                Event::Arrive { node } => self.arrive(node, at)?,
                Event::Root { node, question, sending, op } => self.root(node, question, sending, op, at)?,
                Event::Answer { node, question, sending, granted } => {
                    self.answered(node, question, sending, granted, at)?;
                }
                Event::Timeout { node, question, sending } => self.timeout(node, question, sending, at),
                Event::Idle { node } => self.idle(node, at),
                Event::Kill { node } => self.kill(node),
                Event::Back { by_us } => self.back_us += by_us,
            }
        }
        if self.undecided > 0 {
            return Err(format!("{} requests were never decided", self.undecided));
        }
        self.judge()
    }

    fn arrive(&mut self, at_node: usize, at: u64) -> Verdict {
        if !self.nodes[at_node].alive {
            return Ok(());
        }
        let now = self.local(at_node, at);
        let cost = 1 + self.below(3).min(self.scene.terms.rule.most() - 1);
        let node = &mut self.nodes[at_node];
        match node.lease.take(&self.scene.terms, cost, now) {
            Decision::Taken { taken, refill } => {
                let lot = node.lease.lots.iter().find(|lot| lot.number == taken.number);
                let generation = lot.expect("spent from a lot").generation;
                let decided_at = self.decided[&(at_node, taken.number)];
                if let Some(acquire) = refill {
                    self.send(at_node, acquire, at);
                }
                self.in_time(decided_at, at)?;
                self.spend(generation, cost, at, true)?;
            }
            Decision::Ask(acquire) => {
                self.undecided += 1;
                self.send(at_node, acquire, at);
            }
            Decision::Deny { .. } => {}
        }
        let held: u64 = self.nodes[at_node].lease.lots.iter().map(|lot| lot.left).sum();
        // A cost of three may be asked for where k_max is less.
        if self.scene.mutant.is_none() && held > self.scene.terms.holding_max {
            return Err(format!("{held} held at {at}"));
        }
        Ok(())
    }

    fn send(&mut self, node: usize, acquire: Acquire, at: u64) {
        let question = self.count;
        let op = self.operations.len();
        self.operations.push(acquire.operation(&self.scene.terms));
        self.nodes[node].asked.insert(question, (acquire, 0));
        self.post(at, Event::Root { node, question, sending: 0, op });
        self.at(at + TIMEOUT_US, Event::Timeout { node, question, sending: 0 });
    }

    fn root(&mut self, node: usize, question: u64, sending: u32, op: usize, at: u64) -> Verdict {
        let (operation, wall) = (self.operations[op], self.wall(at));
        let rule = self.scene.terms.rule;
        if self.scene.mutant == Some(Mutant::LostMax) {
            self.model.forget_last(&self.key);
        }
        let returned = matches!(operation, Operation::Return { .. });
        if returned && self.scene.mutant == Some(Mutant::ReturnedTwice) {
            self.model.forget_returns(&self.key);
        }
        let value = self.model.run(&self.key, &operation, wall).expect("a lease of a root");
        let now = match &value {
            Value::Array(values) => match values[1] {
                Value::Integer(now) => now.unsigned_abs(),
                _ => unreachable!("the model answers with numbers"),
            },
            _ => unreachable!("the model answers with an array"),
        };
        if let Some(left_us) = self.model.ttl_us(&self.key, now) {
            let longest_us = rule.ttl_ms() * 1_000;
            if left_us > longest_us || longest_us > rule.horizon_us() + (TTL_SLACK_MS + 1) * 1_000 {
                return Err(format!("a key lives {left_us} µs after {now}"));
            }
        }
        let stepped = match returned {
            true => Returned::read(&value).expect("the model answers alike").clock_stepped,
            false => Granted::read(&rule, 1, &value).expect("the model answers alike").clock_stepped,
        };
        self.epoch += u64::from(stepped);
        if !returned {
            let granted = Granted::read(&rule, 1, &value).expect("the model answers alike");
            self.windows.entry(granted.generation).or_insert((self.epoch, now / rule.horizon_us()));
            let answer = self.answers.len();
            self.answers.push((granted, at));
            self.post(at, Event::Answer { node, question, sending, granted: answer });
        }
        Ok(())
    }

    fn answered(&mut self, at_node: usize, question: u64, sending: u32, answer: usize, at: u64) -> Verdict {
        let now = self.local(at_node, at);
        let (granted, decided_at) = self.answers[answer];
        let superseded_counts = self.scene.mutant == Some(Mutant::Superseded);
        let node = &mut self.nodes[at_node];
        let asked = node.asked.get(&question).map(|(_, current)| *current);
        if !node.alive || !asked.is_some_and(|current| current == sending || superseded_counts) {
            return Ok(());
        }
        let Some((acquire, _)) = node.asked.remove(&question) else { return Ok(()) };
        let cost = acquire.cost;
        self.decided.insert((at_node, acquire.number), decided_at);
        match node.lease.answer(acquire, &granted, now) {
            Answered::Admitted => {
                self.undecided -= 1;
                // The root decided on the request's own cost, at its own time.
                self.spend(granted.generation, cost, decided_at, false)?;
            }
            Answered::Denied { .. } => self.undecided -= 1,
            Answered::Refilled => {}
        }
        Ok(())
    }

    /// One more sending, then the store counts as failed and the request is decided without it.
    fn timeout(&mut self, at_node: usize, question: u64, sending: u32, at: u64) {
        let now = self.local(at_node, at);
        let node = &mut self.nodes[at_node];
        let current = node.asked.get(&question).is_some_and(|(_, current)| *current == sending);
        if !node.alive || !current {
            return;
        }
        let Some((acquire, _)) = node.asked.remove(&question) else { return };
        if sending > 0 {
            self.undecided -= u64::from(!acquire.refill);
            node.lease.failed(acquire);
            return;
        }
        let again = node.lease.again(acquire, now);
        let (op, sending) = (self.operations.len(), sending + 1);
        self.operations.push(again.operation(&self.scene.terms));
        node.asked.insert(question, (again, sending));
        self.post(at, Event::Root { node: at_node, question, sending, op });
        self.at(at + TIMEOUT_US, Event::Timeout { node: at_node, question, sending });
    }

    fn idle(&mut self, at_node: usize, at: u64) {
        let now = self.local(at_node, at);
        let node = &mut self.nodes[at_node];
        if !node.alive {
            return;
        }
        let back = node.lease.surplus(&self.scene.terms, now);
        let back = back.or_else(|| node.lease.close(&self.scene.terms, now));
        if let Some(operation) = back {
            let (op, question) = (self.operations.len(), self.count);
            self.operations.push(operation);
            self.post(at, Event::Root { node: at_node, question, sending: 0, op });
        }
    }

    /// A node that crashes forgets everything and comes back empty; what waited in it is gone.
    fn kill(&mut self, at_node: usize) {
        let node = &mut self.nodes[at_node];
        self.undecided -= node.asked.values().filter(|(acquire, _)| !acquire.refill).count() as u64;
        node.asked.clear();
        node.lease = Lease::default();
        let alive = self.chance(2);
        self.nodes[at_node].alive = alive;
    }

    /// Sends through a network that loses, repeats, delays and overtakes.
    fn post(&mut self, at: u64, event: Event) {
        let returned = matches!(event, Event::Root { op, .. } if matches!(self.operations[op], Operation::Return { .. }));
        let Faults { loses, repeats_acquires, repeats_returns, delays } = self.scene.faults;
        let repeats = if returned { repeats_returns } else { repeats_acquires };
        let copies = match self.below(10) {
            0 if loses => 0,
            1 | 2 if repeats => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay_us =
                if delays && self.chance(8) { self.below(400_000) } else { 200 + self.below(5_000) };
            self.at(at + delay_us, event);
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    fn wall(&self, at: u64) -> u64 {
        START_US + at - self.back_us.min(START_US)
    }

    fn local(&self, node: usize, at: u64) -> Now {
        let Node { speed_ppm, offset_us, .. } = self.nodes[node];
        let mono_us = offset_us + (u128::from(at) * u128::from(speed_ppm) / 1_000_000) as u64;
        Now { wall_us: 0, mono_us }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.seed.draw() % end.max(1)
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

fn runs(algorithm: Algorithm, mutant: Option<Mutant>, seeds: u64) -> Result<(), String> {
    (0..seeds).try_for_each(|seed| {
        let verdict = Sim::new(scene(algorithm, seed, mutant), seed).run();
        verdict.map_err(|what| format!("seed {seed}: {what}"))
    })
}

#[test]
fn a_window_root_is_never_exceeded() {
    assert_eq!(runs(Algorithm::FixedWindow, None, RUNS), Ok(()));
}

#[test]
fn a_token_bucket_is_exceeded_by_its_bound_at_most() {
    assert_eq!(runs(Algorithm::TokenBucket, None, RUNS), Ok(()));
}

/// A token bucket takes nothing back, so that nothing can be credited twice there; and what a superseded answer adds to a
/// lease's time is less than what its nodes leave unspent of their bound.
#[test]
fn mutants_break_the_bound() {
    let of_a_window = [Mutant::ReturnedTwice, Mutant::LostMax, Mutant::Superseded];
    for (root, mutants) in
        [(Algorithm::FixedWindow, &of_a_window[..]), (Algorithm::TokenBucket, &[Mutant::LostMax])]
    {
        for mutant in mutants {
            let verdict = runs(root, Some(*mutant), RUNS);
            assert!(verdict.is_err(), "{mutant:?} of a {root:?} survived");
        }
    }
}
