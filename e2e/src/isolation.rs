//! Network and mount namespaces for one test: what it cuts and fills is nobody else's.
//!
//! The test starts itself again inside them; [`inside`] tells which of the two runs this is.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::client::on_path;
use crate::{Result, skip};

/// Says to the inner run that it is the inner one.
const MARK: &str = "BOLIDE_E2E_INSIDE";

/// True inside; otherwise the test has been run inside by now, or skipped, and has nothing left to do.
///
/// # Errors
/// The inner run fails.
///
/// # Panics
/// In CI, when the machine allows no namespaces.
pub fn inside(test: &str) -> Result<bool> {
    if std::env::var(MARK).is_ok_and(|mark| mark == test) {
        run("ip", &["link", "set", "lo", "up"])?;
        return Ok(true);
    }
    for tool in ["unshare", "ip", "iptables", "mount"] {
        if !on_path(tool)
            && !Path::new("/usr/sbin").join(tool).exists()
            && !Path::new("/sbin").join(tool).exists()
        {
            skip(&format!("{test} needs `{tool}`, which is not on PATH"));
            return Ok(false);
        }
    }
    let mut unshare = vec!["--net", "--mount"];
    if !rustix::process::geteuid().is_root() {
        unshare.extend(["--user", "--map-root-user"]);
    }
    let allowed = Command::new("unshare").args(&unshare).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        skip(&format!("{test} needs network namespaces, which this machine does not allow"));
        return Ok(false);
    }
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let status = Command::new("unshare")
        .args(&unshare)
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .status()
        .context("cannot run unshare")?;
    ensure!(status.success(), "{test} failed in its namespaces ({status})");
    Ok(false)
}

/// A port of this namespace that nothing passes to or from. The packets vanish, as on a cut cable. Ends when dropped.
#[derive(Debug)]
pub struct Cut {
    ports: Vec<u16>,
}

impl Cut {
    /// Cuts off ports.
    ///
    /// # Errors
    /// The rules cannot be made.
    pub fn ports(ports: &[u16]) -> Result<Self> {
        let mut cut = Self { ports: Vec::new() };
        for port in ports {
            cut.ports.push(*port);
            rules("-A", *port)?;
        }
        Ok(cut)
    }

    /// Lets packets pass again.
    ///
    /// # Errors
    /// The rules cannot be removed.
    pub fn heal(mut self) -> Result<()> {
        std::mem::take(&mut self.ports).into_iter().try_for_each(|port| rules("-D", port))
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        for port in &self.ports {
            // the namespace ends with the test anyway
            let _ = rules("-D", *port);
        }
    }
}

fn rules(change: &str, port: u16) -> Result<()> {
    let port = port.to_string();
    for side in ["--dport", "--sport"] {
        run("iptables", &["-w", change, "INPUT", "-p", "tcp", side, &port, "-j", "DROP"])?;
    }
    Ok(())
}

/// A small file system of its own, in memory. What is left of it goes with the namespace.
#[derive(Debug)]
pub struct SmallDisk {
    folder: String,
}

impl SmallDisk {
    /// Mounts an empty one of so many MiB at a folder that is made for it.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount(folder: &Path, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (size, folder) = (format!("size={mebibytes}m"), folder.display().to_string());
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &folder])?;
        Ok(Self { folder })
    }

    /// Takes it away, with all that is on it.
    ///
    /// # Errors
    /// Somebody still uses it.
    pub fn unmount(self) -> Result<()> {
        run("umount", &[&self.folder])
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
