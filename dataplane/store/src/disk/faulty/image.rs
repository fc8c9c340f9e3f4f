//! What lies on the simulated disk: sectors and names, each as it is and as it would be after the machine went down.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

pub(super) const SECTOR: u64 = 512;

pub(super) const SECTOR_BYTES: usize = 512;

pub(super) type Sector = Box<[u8; SECTOR_BYTES]>;

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) live: BTreeMap<u64, Sector>,
    pub(super) durable: BTreeMap<u64, Sector>,
    pub(super) dirty: BTreeSet<u64>,
    pub(super) len: u64,
    pub(super) durable_len: u64,
    /// Bytes reserved by `allocate`, which need no room any more.
    pub(super) reserved: u64,
}

#[derive(Clone)]
pub(super) enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

pub(super) fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Link(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Unlink(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

pub(super) fn touches(change: &NameChange, dir: &Path) -> bool {
    match change {
        NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Rename(_, path, _) => {
            path.parent() == Some(dir)
        }
    }
}

pub(super) fn read_live(inode: &Inode, buf: &mut [u8], pos: u64) {
    let mut done = 0_usize;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = pos.saturating_add(done as u64);
        let within = usize::try_from(at % SECTOR).unwrap_or(0);
        let count = rest.len().min(SECTOR_BYTES.saturating_sub(within));
        let Some(into) = rest.get_mut(..count) else { return };
        match inode.live.get(&(at / SECTOR)).and_then(|bytes| bytes.get(within..within.saturating_add(count)))
        {
            Some(from) => into.copy_from_slice(from),
            None => into.fill(0),
        }
        done = done.saturating_add(count);
    }
}

pub(super) fn write_live(inode: &mut Inode, bytes: &[u8], pos: u64) {
    let mut done = 0_usize;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        let at = pos.saturating_add(done as u64);
        let within = usize::try_from(at % SECTOR).unwrap_or(0);
        let count = rest.len().min(SECTOR_BYTES.saturating_sub(within));
        let sector = inode.live.entry(at / SECTOR).or_insert_with(|| Box::new([0; SECTOR_BYTES]));
        if let (Some(into), Some(from)) =
            (sector.get_mut(within..within.saturating_add(count)), rest.get(..count))
        {
            into.copy_from_slice(from);
        }
        inode.dirty.insert(at / SECTOR);
        done = done.saturating_add(count);
    }
    inode.len = inode.len.max(pos.saturating_add(bytes.len() as u64));
}
