//! A whole world for reconcile tests: API server, brokers, caches and clock in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bolide_api::{BrokerSet, BrokerSetSpec, ConsumerGroup, Topic};
use kube::runtime::reflector::store::Writer;
use kube::runtime::{reflector, watcher};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::brokers::fake::{FakeBrokers, State};
use crate::context::{Context, Seen};
use crate::error::Error;
use crate::events::Events;
use crate::fake_api::FakeApi;
use crate::metrics::Metrics;
use crate::{broker_set, consumer_group, topic};

pub(crate) const SET: &str = "apis/bolide.dev/v1alpha1/namespaces/shop/brokersets/demo";
pub(crate) const TOPICS: &str = "apis/bolide.dev/v1alpha1/namespaces/shop/topics";
pub(crate) const GROUPS: &str = "apis/bolide.dev/v1alpha1/namespaces/shop/consumergroups";

pub(crate) struct TestBed {
    pub(crate) api: FakeApi,
    pub(crate) brokers: FakeBrokers,
    pub(crate) ctx: Context<FakeBrokers>,
    /// Sets are as they are, and not reconciled.
    pub(crate) sets_are_given: bool,
    sets: Writer<BrokerSet>,
    topics: Writer<Topic>,
    groups: Writer<ConsumerGroup>,
}

impl TestBed {
    pub(crate) fn new() -> Self {
        let api = FakeApi::default();
        let brokers = FakeBrokers::of(api.clone());
        let (seen_sets, sets) = reflector::store();
        let (seen_topics, topics) = reflector::store();
        let (seen_groups, groups) = reflector::store();
        let ctx = Context {
            client: api.client(),
            brokers: brokers.clone(),
            seen: Seen { sets: seen_sets, topics: seen_topics, groups: seen_groups },
            events: Events::new(api.client(), None),
            metrics: Metrics::register(&prometheus::Registry::new()).expect("names are free"),
            image: "bolide:test".into(),
            now: || jiff::Timestamp::UNIX_EPOCH,
        };
        Self { api, brokers, ctx, sets_are_given: false, sets, topics, groups }
    }

    /// Another world in the same state.
    fn copy(&self) -> Self {
        let mut copy = Self::new();
        copy.api.take_state_of(&self.api);
        for (address, state) in self.brokers.states() {
            copy.brokers.edit(&address, |held| *held = state);
        }
        copy.sets_are_given = self.sets_are_given;
        copy
    }

    pub(crate) fn put_set(&self, spec: BrokerSetSpec) {
        let held = self.api.object(SET).unwrap_or_else(|| json!({ "metadata": { "name": "demo" } }));
        let mut set = held;
        set["apiVersion"] = json!("bolide.dev/v1alpha1");
        set["kind"] = json!("BrokerSet");
        set["spec"] = serde_json::to_value(spec).expect("a spec");
        self.api.put(SET, set);
    }

    pub(crate) fn set(&self) -> BrokerSet {
        self.api.typed(SET)
    }

    pub(crate) fn put_topic(&self, name: &str, spec: Value) {
        let path = format!("{TOPICS}/{name}");
        let mut topic = self.api.object(&path).unwrap_or_else(|| json!({ "metadata": { "name": name } }));
        topic["spec"] = spec;
        self.api.put(&path, topic);
    }

    pub(crate) fn put_group(&self, name: &str, spec: Value) {
        let path = format!("{GROUPS}/{name}");
        let mut group = self.api.object(&path).unwrap_or_else(|| json!({ "metadata": { "name": name } }));
        group["spec"] = spec;
        self.api.put(&path, group);
    }

    /// The watches show what is stored.
    pub(crate) fn watch(&mut self) {
        self.sets.apply_watcher_event(&watcher::Event::Init);
        self.topics.apply_watcher_event(&watcher::Event::Init);
        self.groups.apply_watcher_event(&watcher::Event::Init);
        for path in self.api.paths() {
            if path == SET {
                self.sets.apply_watcher_event(&watcher::Event::InitApply(self.api.typed(&path)));
            } else if path.starts_with(TOPICS) {
                self.topics.apply_watcher_event(&watcher::Event::InitApply(self.api.typed(&path)));
            } else if path.starts_with(GROUPS) {
                self.groups.apply_watcher_event(&watcher::Event::InitApply(self.api.typed(&path)));
            }
        }
        self.sets.apply_watcher_event(&watcher::Event::InitDone);
        self.topics.apply_watcher_event(&watcher::Event::InitDone);
        self.groups.apply_watcher_event(&watcher::Event::InitDone);
    }

    /// One reconcile of everything that is stored; stops at the first failure, as a process that dies.
    pub(crate) async fn round(&mut self) -> Result<(), Error> {
        let ours = |path: &String| path.contains("/bolide.dev/");
        for path in self.api.paths().into_iter().filter(ours) {
            self.watch();
            if path == SET && self.sets_are_given {
                continue;
            }
            if path == SET {
                broker_set::reconcile(&self.ctx, &self.api.typed(&path)).await?;
            } else if path.starts_with(TOPICS) {
                topic::reconcile(&self.ctx, &self.api.typed(&path)).await?;
            } else if path.starts_with(GROUPS) {
                consumer_group::reconcile(&self.ctx, &self.api.typed(&path)).await?;
            }
        }
        Ok(())
    }

    /// Rounds, with Kubernetes doing its part in between, until nothing changes any more.
    pub(crate) async fn converge(&mut self) {
        for _ in 0..20 {
            let before = (self.api.state(), self.brokers.states());
            self.round().await.expect("nothing stands in the way");
            self.api.settle();
            if (self.api.state(), self.brokers.states()) == before {
                return;
            }
        }
        panic!("it still changes after 20 rounds");
    }
}

/// Runs `scenario`, from `start`, to its end, looking at the world before each write. From every one of those worlds, as an operator
/// would find it that was stopped there, the end must be the same. Returns the number of different ones.
pub(crate) async fn stopped_after_each_write(start: &TestBed, scenario: impl Fn(&TestBed)) -> usize {
    let mut whole = start.copy();
    scenario(&whole);
    let worlds: Arc<Mutex<Vec<World>>> = Arc::default();
    let (api, brokers, seen) = (whole.api.clone(), whole.brokers.clone(), worlds.clone());
    let look = move || {
        let world = World { of: (api.state(), brokers.states()), objects: api.copy() };
        let mut seen = seen.lock();
        if !seen.iter().any(|other| other.of == world.of) {
            seen.push(world);
        }
    };
    whole.api.writes.look_before_each(look);
    whole.converge().await;
    let wanted = (whole.api.state(), whole.brokers.states());
    let worlds = std::mem::take(&mut *worlds.lock());
    let count = worlds.len();
    for (number, world) in worlds.into_iter().enumerate() {
        let mut bed = TestBed::new();
        bed.sets_are_given = start.sets_are_given;
        bed.api.take_state_of(&world.objects);
        for (address, state) in world.of.1 {
            bed.brokers.edit(&address, |held| *held = state);
        }
        bed.converge().await;
        let (objects, brokers) = (bed.api.state(), bed.brokers.states());
        let paths: BTreeSet<&String> = objects.keys().chain(wanted.0.keys()).collect();
        for path in paths {
            assert_eq!(objects.get(path), wanted.0.get(path), "{path}, stopped in world {number} of {count}");
        }
        assert_eq!(brokers, wanted.1, "stopped in world {number} of {count}");
    }
    count
}

/// Everything at one moment.
struct World {
    /// Without what counts writes.
    of: (BTreeMap<String, Value>, BTreeMap<String, State>),
    objects: FakeApi,
}
