use std::os::unix::fs::PermissionsExt;

use super::*;

/// A program that behaves as a child: it takes the same arguments and ends when its input closes or as the script says.
fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn spec(dir: &Path) -> Spec {
    Spec {
        name: "broker-a".to_owned(),
        subcommand: "broker",
        config: dir.join("broker-a.yaml"),
        log: dir.join("broker-a.log"),
        pid: dir.join("broker-a.pid"),
        restart_first: RESTART_SOON,
        listeners: Listeners::default(),
    }
}

#[test]
fn the_delay_grows_to_its_limit_and_starts_over_after_a_good_run() {
    let mut delay = Delay::new(RESTART_SOON);
    let short = Duration::from_millis(10);
    let mut seen = Vec::new();
    for _ in 0..9 {
        seen.push(delay.after(short));
    }
    assert_eq!(seen[0], RESTART_SOON);
    assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]), "{seen:?}");
    assert_eq!(*seen.last().unwrap(), RESTART_MOST);
    assert_eq!(delay.after(RAN_WELL), RESTART_SOON);
    assert_eq!(delay.after(short), RESTART_SOON * 2);
}

#[test]
fn the_last_line_of_a_log_skips_empty_ones() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    assert_eq!(last_line(&log), "");
    std::fs::write(&log, "first\nsecond\n\n").unwrap();
    assert_eq!(last_line(&log), "second");
}

#[tokio::test]
async fn a_child_that_dies_is_started_again_and_told_about() {
    let dir = tempfile::tempdir().unwrap();
    let exe = script(dir.path(), "echo \"no luck with $1\"; exit 7");
    let tracker = TaskTracker::new();
    let (events, mut told) = mpsc::channel(16);
    let child = supervise(&tracker, exe, spec(dir.path()), events);
    assert!(matches!(told.recv().await, Some(Event::Started { restarts: 0, .. })));
    match told.recv().await {
        Some(Event::Died { status, last_line, .. }) => {
            assert_eq!(status, "exit code 7");
            assert_eq!(last_line, "no luck with broker");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(told.recv().await, Some(Event::Started { restarts: 1, .. })));
    child.stop().await;
    assert!(!dir.path().join("broker-a.pid").exists());
}

#[tokio::test]
async fn the_pid_file_names_the_running_child_and_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let exe = script(dir.path(), "cat >/dev/null");
    let tracker = TaskTracker::new();
    let (events, mut told) = mpsc::channel(16);
    let child = supervise(&tracker, exe, spec(dir.path()), events);
    let Some(Event::Started { pid, .. }) = told.recv().await else { panic!("not started") };
    let text = std::fs::read_to_string(dir.path().join("broker-a.pid")).unwrap();
    assert_eq!(text.trim(), pid.to_string());
    assert_eq!(*child.state.borrow(), State::Running { pid });
    // `cat` ends when its input does, so this also shows that the pipe is held open
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(*child.state.borrow(), State::Running { pid });
    child.stop().await;
    assert!(!dir.path().join("broker-a.pid").exists());
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_told_about() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = TaskTracker::new();
    let (events, mut told) = mpsc::channel(16);
    let child = supervise(&tracker, dir.path().join("absent"), spec(dir.path()), events);
    assert!(matches!(told.recv().await, Some(Event::Broken { .. })));
    child.stop().await;
}
