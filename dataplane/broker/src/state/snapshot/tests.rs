use std::sync::Arc;

use bolide_store::RealDisk;
use bolide_store::disk::{Crash, Fault, FaultyDisk};

use super::*;
use crate::arrivals::Arrivals;
use crate::delay::DelayLevels;
use crate::state::timers::Timers;

fn snapshot(topic: &str, covers: u64) -> Snapshot {
    Snapshot {
        topics_version: DataVersion { counter: 3, state_version: 0, timestamp: 9 },
        topics: vec![TopicConfig::new(topic, 4)],
        groups: vec![SubscriptionGroupConfig::new("g")],
        offsets: BTreeMap::from([("t@g".into(), BTreeMap::from([(0, 7), (2, 9)]))]),
        delays: BTreeMap::from([(3, 12)]),
        covers: LogOffset(covers),
        ..Snapshot::default()
    }
}

#[test]
fn nothing_on_disk_is_the_empty_state_from_the_start_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let found = Snapshot::load(&RealDisk::new(), folder.path()).unwrap();
    assert_eq!((found.topics.len(), found.covers), (0, LogOffset(0)));
}

#[test]
fn a_snapshot_reads_back_with_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new();
    snapshot("a", 100).save(&disk, folder.path()).unwrap();
    snapshot("b", 200).save(&disk, folder.path()).unwrap();
    let found = Snapshot::load(&disk, folder.path()).unwrap();
    assert_eq!(found.covers, LogOffset(200));
    assert_eq!(found.topics, vec![TopicConfig::new("b", 4)]);
    assert_eq!(found.topics_version.counter, 3);
    assert_eq!((found.offsets["t@g"][&2], found.delays[&3]), (9, 12));
    let text = std::fs::read_to_string(folder.path().join("config/consumerOffset.json")).unwrap();
    assert!(text.contains(r#""t@g":{0:7,2:9}"#), "the original's form: {text}");
}

#[test]
fn a_file_that_apache_rocketmq_changed_makes_the_files_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new();
    snapshot("a", 100).save(&disk, folder.path()).unwrap();
    let path = folder.path().join("config/consumerOffset.json");
    std::fs::write(path, r#"{"dataVersion":{"counter":1},"offsetTable":{"t@g":{0:70}}}"#).unwrap();
    let found = Snapshot::load(&disk, folder.path()).unwrap();
    assert_eq!(found.covers, LogOffset(u64::MAX));
    assert_eq!(found.offsets["t@g"][&0], 70);
    assert_eq!(found.covers_for_retention(), LogOffset(0));
}

#[test]
fn a_missing_file_replays_the_whole_log() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new();
    snapshot("a", 100).save(&disk, folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("config/delayOffset.json")).unwrap();
    assert_eq!(Snapshot::load(&disk, folder.path()).unwrap().covers, LogOffset(0));
}

#[test]
fn a_mixture_of_two_snapshots_replays_from_the_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new();
    snapshot("a", 100).save(&disk, folder.path()).unwrap();
    let old = std::fs::read(folder.path().join("config/topics.json")).unwrap();
    snapshot("b", 200).save(&disk, folder.path()).unwrap();
    std::fs::write(folder.path().join("config/topics.json"), old).unwrap();
    let found = Snapshot::load(&disk, folder.path()).unwrap();
    assert_eq!((found.covers, found.topics[0].topic_name.as_str()), (LogOffset(100), "a"));
    snapshot("c", 300).save(&disk, folder.path()).unwrap();
    assert_eq!(Snapshot::load(&disk, folder.path()).unwrap().covers, LogOffset(300));
}

#[test]
fn the_state_of_a_snapshot_is_the_snapshot_of_the_state() {
    let levels = DelayLevels::parse("1s 5s 10s").unwrap();
    let state = State::new(snapshot("a", 100), Timers::none(), levels, Arc::new(Arrivals::default()));
    let again = Snapshot::of(&state, LogOffset(150));
    assert_eq!(again.topics, snapshot("a", 100).topics);
    assert_eq!(again.offsets, snapshot("a", 100).offsets);
    assert_eq!((again.delays, again.covers), (snapshot("a", 100).delays, LogOffset(150)));
}

/// Whatever step of saving a crash interrupts, the files stay ours and stand for one of the two offsets.
#[test]
fn a_crash_at_any_step_of_saving_leaves_a_snapshot_of_ours() {
    for crash in [Crash::Process, Crash::Machine] {
        for step in 1.. {
            let disk = FaultyDisk::new(step);
            let root = Path::new("/store");
            snapshot("a", 100).save(&disk, root).unwrap();
            disk.fault_after(Some((step, Fault::Crash)));
            let finished = snapshot("b", 200).save(&disk, root).is_ok();
            let disk = disk.restart(crash);
            let found = Snapshot::load(&disk, root).unwrap();
            assert!([100, 200].contains(&found.covers.0), "step {step} after {crash:?}: {:?}", found.covers);
            assert!(found.topics[0].topic_name == "a" || found.topics[0].topic_name == "b");
            if found.covers.0 == 200 {
                assert_eq!(found.topics[0].topic_name, "b");
            }
            if finished {
                assert_eq!(found.covers, LogOffset(200));
                break;
            }
        }
    }
}
