//! Everything there is, and the order in which it happens.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use bolide_replication::{Event, LinkId, Message, ReplicaName};

use crate::{
    clients::{Producer, Request},
    faults::Fault,
    group_state::ApiServer,
    history::History,
    network::Network,
    node::{Callback, Node, node_name},
    plan::Plan,
    random::Random,
};

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum What {
    /// A replica is told something.
    Event(usize, u64, Event),
    /// A replica's own time has come.
    Wake(usize, u64),
    /// What its store has called back.
    Callback(usize, u64, Callback),
    /// Its log has moved.
    Progress(usize, u64),
    Write(usize, u64),
    Flush(usize, u64),
    Checkpoint(usize, u64),
    /// Its master process looks after the Service.
    Point(usize, u64),
    /// A dialed replica is reached: dialer, its life, the dialed.
    Dial(usize, u64, usize),
    /// A message arrives at an end of a connection.
    Arrive {
        connection: usize,
        end: usize,
        message: Message,
    },
    /// An end of a connection learns that it is over.
    Broken {
        connection: usize,
        end: usize,
    },
    /// A request of a replica reaches the API server.
    Load(usize, u64),
    CompareAndSet {
        node: usize,
        life: u64,
        version: String,
        new: bolide_replication::GroupState,
        answered: bool,
    },
    Ask(usize, u64, Request),
    Produce(usize),
    Consume(u32),
    /// Something goes wrong, or is mended.
    Fault(Option<Fault>),
    /// A process starts again.
    Start(usize),
    /// A stopped process goes on.
    Continue(usize),
}

struct Scheduled {
    at: Duration,
    number: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) now: Duration,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) api: ApiServer,
    pub(crate) history: History,
    pub(crate) producers: Vec<Producer>,
    pub(crate) messages: u64,
    /// Processes up to this life have lost more than the replicas promise to bear; what they asked of the API server is lost too.
    pub(crate) void: Vec<u64>,
    /// What stopped processes will find when they go on.
    deferred: BTreeMap<usize, Vec<What>>,
    /// Nothing goes wrong any more, and nothing new is sent.
    pub(crate) ending: bool,
    /// Print what happens.
    pub(crate) verbose: bool,
    scheduled: BinaryHeap<Reverse<Scheduled>>,
    number: u64,
}

impl World {
    pub(crate) fn new(seed: u64, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let nodes = (0..plan.replicas).map(|index| Node::new(index, random.next() >> 20)).collect();
        let mut world = Self {
            random,
            now: Duration::from_secs(1),
            nodes,
            network: Network::default(),
            api: ApiServer::new(node_name(0), plan.replicas),
            history: History::default(),
            producers: vec![Producer::default(); plan.producers],
            messages: 0,
            void: vec![0; plan.replicas],
            deferred: BTreeMap::new(),
            ending: false,
            verbose,
            scheduled: BinaryHeap::new(),
            number: 0,
            plan,
        };
        for node in 0..world.nodes.len() {
            let delay = world.random.millis(0, 300);
            world.after(delay, What::Start(node));
        }
        for producer in 0..world.plan.producers {
            world.after(Duration::from_millis(5), What::Produce(producer));
        }
        for consumer in 0..2 {
            world.after(Duration::from_millis(50), What::Consume(consumer));
        }
        world.after(Duration::from_millis(2500), What::Fault(None));
        world
    }

    pub(crate) fn after(&mut self, delay: Duration, what: What) {
        self.at(self.now + delay, what);
    }

    pub(crate) fn at(&mut self, at: Duration, what: What) {
        self.number += 1;
        self.scheduled.push(Reverse(Scheduled { at: at.max(self.now), number: self.number, what }));
    }

    pub(crate) fn index_of(&self, name: &ReplicaName) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == *name)
    }

    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>10.4} {}", self.now.as_secs_f64(), text());
        }
    }

    /// Lets everything happen up to a time, or up to the first failure.
    pub(crate) fn run_to(&mut self, end: Duration) {
        while let Some(Reverse(next)) = self.scheduled.peek() {
            if next.at > end || self.history.failure().is_some() {
                break;
            }
            let Some(Reverse(Scheduled { at, number, what })) = self.scheduled.pop() else { break };
            self.now = at;
            self.history.note(number ^ u64::try_from(at.as_nanos()).unwrap_or(0));
            self.happen(what);
        }
        self.now = self.now.max(end);
    }

    /// Whose life an occurrence belongs to.
    fn owner(&self, what: &What) -> Option<(usize, u64)> {
        match what {
            What::Event(node, life, _)
            | What::Wake(node, life)
            | What::Callback(node, life, _)
            | What::Progress(node, life)
            | What::Write(node, life)
            | What::Flush(node, life)
            | What::Checkpoint(node, life)
            | What::Point(node, life)
            | What::Ask(node, life, _) => Some((*node, *life)),
            What::Arrive { connection, end, .. } | What::Broken { connection, end } => {
                let found = self.network.connections.get(*connection)?;
                Some((found.ends[*end], found.lives[*end]))
            }
            _ => None,
        }
    }

    fn happen(&mut self, what: What) {
        if let Some((node, life)) = self.owner(&what) {
            if self.nodes[node].life != life || self.nodes[node].process.is_none() {
                if let What::Ask(_, _, request) = what {
                    self.answer(request, false);
                }
                return;
            }
            if self.nodes[node].paused {
                self.deferred.entry(node).or_default().push(what);
                return;
            }
            self.nodes[node].clock.set(self.now);
        }
        match what {
            What::Event(node, _, event) => self.give(node, event),
            What::Wake(node, _) => self.on_wake(node),
            What::Callback(node, _, callback) => self.on_callback(node, callback),
            What::Progress(node, _) => self.on_progress(node),
            What::Write(node, _) => self.on_write(node),
            What::Flush(node, _) => self.on_flush(node),
            What::Checkpoint(node, _) => self.on_checkpoint(node),
            What::Point(node, _) => self.on_point(node),
            What::Dial(from, life, to) => self.on_dial(from, life, to),
            What::Arrive { connection, end, message } => self.on_arrive(connection, end, message),
            What::Broken { connection, end } => self.on_broken(connection, end),
            What::Load(node, life) => self.on_load(node, life),
            What::CompareAndSet { node, life, version, new, answered } => {
                self.on_compare_and_set(node, life, &version, new, answered);
            }
            What::Ask(node, _, request) => self.on_ask(node, request),
            What::Produce(producer) => self.produce(producer),
            What::Consume(consumer) => self.consume(consumer),
            What::Fault(fault) => self.on_fault(fault),
            What::Start(node) => self.start(node),
            What::Continue(node) => self.go_on(node),
        }
    }

    /// A stopped process goes on with all that has waited for it.
    pub(crate) fn go_on(&mut self, node: usize) {
        if !std::mem::replace(&mut self.nodes[node].paused, false) {
            return;
        }
        self.say(|| format!("r{node} continues"));
        for what in self.deferred.remove(&node).unwrap_or_default() {
            self.after(Duration::ZERO, what);
        }
    }

    pub(crate) fn forget_deferred(&mut self, node: usize) {
        self.deferred.remove(&node);
    }

    /// An end of a connection learns that the other one is gone.
    pub(crate) fn on_broken(&mut self, connection: usize, end: usize) {
        let Some(found) = self.network.connections.get_mut(connection) else { return };
        if std::mem::replace(&mut found.open[end], false) {
            let (node, link): (usize, LinkId) = (found.ends[end], crate::network::link(connection, end));
            self.give(node, Event::LinkDown { link });
        }
    }
}
