//! The data folder of a local cluster: who holds it, and where each file lives.
//!
//! ```text
//! DIR/bolide.lock          held (flock) by the running `bolide up`; says its process id
//! DIR/config/<name>.yaml   configuration of each process, written at every start
//! DIR/data/<name>/         store of a broker
//! DIR/log/<name>.log       output of each process, the previous one as <name>.log.1
//! DIR/run/<name>.pid       process id of each running process
//! ```

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// How long a start waits for the processes of an instance that was killed a moment ago.
const LEFTOVERS: Duration = Duration::from_secs(20);

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error(
        "the data folder {path} is in use by another `bolide up` (process {holder}); stop it first, or choose another folder with --data"
    )]
    Held { path: String, holder: String },
    #[error("the data folder {path} exists but is not a folder; choose another one with --data")]
    NotAFolder { path: String },
    #[error("process {pid} of an earlier `bolide up` in {path} is still running; stop it first")]
    Leftover { path: String, pid: i32 },
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: String, source: std::io::Error },
}

/// The paths inside a data folder. Nothing exists until [`Folder::hold`].
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// The folder is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

impl Folder {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.root.join("config").join(format!("{name}.yaml"))
    }

    pub(crate) fn store(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.log"))
    }

    pub(crate) fn pid(&self, name: &str) -> PathBuf {
        self.root.join("run").join(format!("{name}.pid"))
    }

    /// Whether a `bolide up` has used the folder before.
    pub(crate) fn used(&self) -> bool {
        self.root.join("bolide.lock").exists()
    }

    /// Takes the lock of the folder, making the folder if it is not there.
    ///
    /// # Errors
    /// Another instance holds it, or the file system refuses.
    pub(crate) fn hold(&self) -> Result<Held, FolderError> {
        if self.root.exists() && !self.root.is_dir() {
            return Err(FolderError::NotAFolder { path: self.shown() });
        }
        for sub in ["config", "data", "log", "run"] {
            let path = self.root.join(sub);
            fs::create_dir_all(&path).map_err(|source| io("create", &path, source))?;
        }
        let path = self.root.join("bolide.lock");
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| io("open", &path, source))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
                return Err(FolderError::Held { path: self.shown(), holder });
            }
            Err(errno) => return Err(io("lock", &path, errno.into())),
        }
        file.set_len(0).map_err(|source| io("write", &path, source))?;
        writeln!(file, "{}", std::process::id()).map_err(|source| io("write", &path, source))?;
        Ok(Held { _lock: file })
    }

    /// Waits until the processes named by the pid files are gone (an instance that was killed leaves them for a moment: they end
    /// by themselves), then removes those files.
    ///
    /// # Errors
    /// A process is still there after 20 s, or a file cannot be removed.
    pub(crate) fn wait_for_leftovers(&self, _held: &Held) -> Result<(), FolderError> {
        let run = self.root.join("run");
        let deadline = Instant::now() + LEFTOVERS;
        for entry in fs::read_dir(&run).map_err(|source| io("read", &run, source))? {
            let path = entry.map_err(|source| io("read", &run, source))?.path();
            if let Some(pid) = read_pid(&path) {
                while is_ours(pid, &self.root) {
                    if Instant::now() > deadline {
                        return Err(FolderError::Leftover {
                            path: self.shown(),
                            pid: pid.as_raw_nonzero().get(),
                        });
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            fs::remove_file(&path).map_err(|source| io("remove", &path, source))?;
        }
        Ok(())
    }

    fn shown(&self) -> String {
        self.root.display().to_string()
    }
}

/// The process id in a pid file, if there is one.
pub(crate) fn read_pid(path: &Path) -> Option<Pid> {
    let text = fs::read_to_string(path).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

/// Whether the process runs and its command line names this folder (so that a reused process id is not taken for ours).
fn is_ours(pid: Pid, root: &Path) -> bool {
    if test_kill_process(pid).is_err() {
        return false;
    }
    let line = PathBuf::from(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    match fs::read(&line) {
        // a dead process that nobody has waited for yet has an empty command line
        Ok(bytes) => String::from_utf8_lossy(&bytes).contains(&*root.to_string_lossy()),
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

fn io(what: &'static str, path: &Path, source: std::io::Error) -> FolderError {
    FolderError::Io { what, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("data"));
        let held = folder.hold().unwrap();
        let error = folder.hold().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert!(error.contains("--data"), "{error}");
        drop(held);
        folder.hold().unwrap();
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(matches!(Folder::new(&path).hold(), Err(FolderError::NotAFolder { .. })));
    }

    #[test]
    fn pid_files_of_dead_processes_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let held = folder.hold().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        fs::write(folder.pid("broker-a"), child.id().to_string()).unwrap();
        fs::write(folder.pid("broker-b"), "not a number").unwrap();
        child.wait().unwrap();
        folder.wait_for_leftovers(&held).unwrap();
        assert!(!folder.pid("broker-a").exists() && !folder.pid("broker-b").exists());
    }
}
