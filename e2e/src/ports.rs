//! Port blocks: one per cluster, free at the time it is taken, and not taken by another test process.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::ops::RangeInclusive;

use anyhow::{Context, bail};
use rustix::fs::FlockOperation;

/// Ports in a block: nameservers at 0.., admin at 50.., brokers at 100 + 10 x group.
pub const BLOCK: u16 = 200;
/// Below the ports that the kernel hands out to clients.
const RANGE: RangeInclusive<u16> = 24_000..=31_999;

/// A block of ports, ours until dropped.
#[derive(Debug)]
pub struct Block {
    base: u16,
    _lock: File,
}

impl Block {
    /// First port of the block; the argument for `--port-base`.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// Takes a free block.
    ///
    /// # Errors
    /// None is free, or `BOLIDE_E2E_PORTS` is not `first-last`.
    pub fn take() -> crate::Result<Self> {
        let range = match std::env::var("BOLIDE_E2E_PORTS") {
            Ok(text) => {
                parse(&text).with_context(|| format!("BOLIDE_E2E_PORTS={text}: expected first-last"))?
            }
            Err(_) => RANGE,
        };
        let blocks = (range.end() - range.start() + 1) / BLOCK;
        if blocks == 0 {
            bail!("a range of ports for tests needs at least {BLOCK} of them");
        }
        // start at a place that differs between processes, so that they seldom meet
        let first = u16::try_from(std::process::id() % u32::from(blocks)).unwrap_or(0);
        for step in 0..blocks {
            let base = range.start() + (first + step) % blocks * BLOCK;
            if let Some(lock) = lock(base)?
                && (base..base + BLOCK).all(free)
            {
                return Ok(Self { base, _lock: lock });
            }
        }
        bail!("no free block of {BLOCK} ports in {}-{}", range.start(), range.end())
    }
}

fn lock(base: u16) -> crate::Result<Option<File>> {
    let path = std::env::temp_dir().join(format!("bolide-e2e-ports-{base}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

fn free(port: u16) -> bool {
    TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first < last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_do_not_overlap() {
        let one = Block::take().unwrap();
        let two = Block::take().unwrap();
        assert!(one.base().abs_diff(two.base()) >= BLOCK);
    }

    #[test]
    fn a_range_is_first_and_last() {
        assert_eq!(parse("22000-22999"), Some(22_000..=22_999));
        assert_eq!(parse("22999-22000"), None);
        assert_eq!(parse("x"), None);
    }
}
