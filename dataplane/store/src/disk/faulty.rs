//! A disk in memory that fails and crashes on demand, for tests and the simulator.
//!
//! It knows of each 512-byte sector whether it was synced, and of each name whether its folder was synced. Every changing
//! call is a step; a [`Fault`] names the step at which something happens:
//! - *crash*: the step happens in part, it and every later call fail, until [`FaultyDisk::restart`] says whether the
//!   machine went down (unsynced sectors and names are kept or lost at random) or only the process (all is kept);
//! - *fail*: one call fails; a failed sync drops the dirty state, as Linux does, so that a repeated sync lies;
//! - *full*: bytes beyond a capacity are refused.

mod image;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use image::{Inode, NameChange, SECTOR, apply, read_live, touches, write_live};

use super::{DirEntry, Disk, DiskFile, DiskLock, Space};

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process or the machine goes down in the middle of this step.
    Crash,
    /// The call fails with an I/O error and has no effect.
    Fail,
}

/// What a crash took with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ended; the kernel kept everything it had been given.
    Process,
    /// The machine ended: what was not synced is kept or lost, sector by sector and name by name.
    Machine,
}

struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    step: u64,
    fault: Option<(u64, Fault)>,
    crashed: bool,
    capacity: u64,
    random: u64,
    boot: u64,
    locked: BTreeSet<PathBuf>,
    /// Open handles of before a restart are of no use after it.
    life: u64,
    bytes_read: u64,
}

impl State {
    fn random(&mut self) -> u64 {
        // xorshift64: good enough to choose what a crash loses, and the same for a seed everywhere.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn check(&self, life: u64) -> io::Result<()> {
        if self.crashed || self.life != life {
            return Err(io::Error::other("the simulated machine is down"));
        }
        Ok(())
    }

    /// Counts a changing call. `Ok(true)`: crash in the middle of it.
    fn step(&mut self, life: u64) -> io::Result<bool> {
        self.check(life)?;
        self.step = self.step.wrapping_add(1);
        match self.fault {
            Some((at, Fault::Crash)) if at == self.step => {
                self.crashed = true;
                Ok(true)
            }
            Some((at, Fault::Fail)) if at == self.step => Err(io::Error::other("injected failure")),
            _ => Ok(false),
        }
    }

    fn used(&self) -> u64 {
        let of = |inode: &u64| {
            let found = self.inodes.get(inode);
            found.map_or(0, |inode| inode.reserved.max((inode.live.len() as u64).saturating_mul(SECTOR)))
        };
        self.names.values().map(of).fold(0, u64::saturating_add)
    }

    fn drop_unlinked(&mut self) {
        let kept: BTreeSet<u64> = self.names.values().chain(self.durable_names.values()).copied().collect();
        self.inodes.retain(|inode, _| kept.contains(inode));
    }
}

fn down() -> io::Error {
    io::Error::other("the simulated machine went down")
}

/// The disk; clones share it.
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl FaultyDisk {
    /// An empty disk of unlimited size. `seed` decides what crashes lose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            inodes: BTreeMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            dirs: BTreeSet::new(),
            step: 0,
            fault: None,
            crashed: false,
            capacity: u64::MAX,
            random: seed | 1,
            boot: 1,
            locked: BTreeSet::new(),
            life: 1,
            bytes_read: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), life: 1 }
    }

    /// Arranges a fault `steps` changing calls from now (1 is the next one); `None` takes it back.
    pub fn fault_after(&self, fault: Option<(u64, Fault)>) {
        let mut state = self.state.lock();
        state.fault = fault.map(|(steps, fault)| (state.step.saturating_add(steps), fault));
    }

    /// Limits the disk to this many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Changing calls so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state.lock().step
    }

    /// True once a crash has happened, until `restart`.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state.lock().crashed
    }

    /// Bytes read from files so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.state.lock().bytes_read
    }

    /// The same disk after the process or the machine started again. Handles of before fail from now on.
    #[must_use]
    pub fn restart(&self, crash: Crash) -> Self {
        let mut state = self.state.lock();
        state.crashed = false;
        state.fault = None;
        state.locked.clear();
        state.life = state.life.saturating_add(1);
        if crash == Crash::Machine {
            state.boot = state.boot.saturating_add(1);
            let pending = std::mem::take(&mut state.pending);
            for change in &pending {
                if state.random() & 1 == 0 {
                    apply(&mut state.durable_names, change);
                }
            }
            state.names = state.durable_names.clone();
            let inodes: Vec<u64> = state.inodes.keys().copied().collect();
            for inode in inodes {
                let mut choices = Vec::new();
                let dirty = state.inodes.get(&inode).map(|found| found.dirty.clone()).unwrap_or_default();
                for sector in dirty {
                    let choice = state.random() & 3 != 0;
                    choices.push((sector, choice));
                }
                let keep_len = state.random() & 1 == 0;
                let Some(found) = state.inodes.get_mut(&inode) else { continue };
                for (sector, kept) in choices {
                    if kept {
                        match found.live.get(&sector) {
                            Some(bytes) => found.durable.insert(sector, bytes.clone()),
                            None => found.durable.remove(&sector),
                        };
                    }
                }
                if !keep_len {
                    found.len = found.durable_len;
                }
                found.durable_len = found.len;
                found.dirty.clear();
                found.live = found.durable.clone();
                let sectors = found.len.div_ceil(SECTOR);
                found.live.retain(|sector, _| *sector < sectors);
                found.durable = found.live.clone();
            }
            state.drop_unlinked();
        }
        Self { state: Arc::clone(&self.state), life: state.life }
    }

    /// The live bytes of a file, for tests.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let inode = state.inodes.get(state.names.get(path)?)?;
        let mut bytes = vec![0; usize::try_from(inode.len).ok()?];
        read_live(inode, &mut bytes, 0);
        Some(bytes)
    }

    /// Replaces the bytes of a file, durable, without a step: a test's way to damage it.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.lock();
        let number = match state.names.get(path) {
            Some(number) => *number,
            None => {
                let number = state.next_inode;
                state.next_inode = number.saturating_add(1);
                state.names.insert(path.to_owned(), number);
                state.durable_names.insert(path.to_owned(), number);
                number
            }
        };
        let mut inode = Inode { len: bytes.len() as u64, ..Inode::default() };
        write_live(&mut inode, bytes, 0);
        inode.dirty.clear();
        inode.durable = inode.live.clone();
        inode.durable_len = inode.len;
        state.inodes.insert(number, inode);
    }

    /// Paths of all files.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().names.keys().cloned().collect()
    }

    fn file(&self, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { disk: self.clone(), inode })
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: u64,
}

impl FaultyFile {
    fn change<T>(&self, f: impl FnOnce(&mut State, u64, bool) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        let crash = state.step(self.disk.life)?;
        f(&mut state, self.inode, crash)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inode) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        state.check(self.disk.life)?;
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        f(inode)
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bufs: &mut [IoSlice<'_>], pos: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = Vec::new();
        for buf in bufs.iter() {
            bytes.extend_from_slice(buf);
        }
        self.change(|state, inode, crash| {
            // A write ends between sectors: none is ever half old and half new.
            let part = if crash {
                let chosen = state.random().checked_rem((bytes.len() as u64).saturating_add(1));
                let end = pos.saturating_add(chosen.unwrap_or(0));
                usize::try_from(end.saturating_sub(end % SECTOR).saturating_sub(pos)).unwrap_or(0)
            } else {
                bytes.len()
            };
            let used = state.used();
            let capacity = state.capacity;
            let found = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
            let end = pos.saturating_add(bytes.len() as u64);
            let sectors = pos / SECTOR..end.div_ceil(SECTOR);
            let present = found.live.range(sectors.clone()).count() as u64;
            let new = sectors.end.saturating_sub(sectors.start).saturating_sub(present);
            if end > found.reserved && new > 0 && used.saturating_add(new.saturating_mul(SECTOR)) > capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
            write_live(found, bytes.get(..part).unwrap_or_default(), pos);
            if crash { Err(down()) } else { Ok(()) }
        })
    }

    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<()> {
        self.with(|inode| {
            if pos.saturating_add(buf.len() as u64) > inode.len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            read_live(inode, buf, pos);
            Ok(())
        })?;
        let mut state = self.disk.state.lock();
        state.bytes_read = state.bytes_read.saturating_add(buf.len() as u64);
        Ok(())
    }

    fn view(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        if pos.saturating_add(len as u64) > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        self.read_at(&mut bytes, pos)?;
        Ok(bytes.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let result = state.step(self.disk.life);
        let failed = !matches!(result, Ok(false));
        if let (Err(_), false) = (&result, state.crashed)
            && let Some(inode) = state.inodes.get_mut(&self.inode)
        {
            inode.dirty.clear();
        }
        if failed {
            result?;
            return Err(down());
        }
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        for sector in std::mem::take(&mut inode.dirty) {
            match inode.live.get(&sector) {
                Some(bytes) => inode.durable.insert(sector, bytes.clone()),
                None => inode.durable.remove(&sector),
            };
        }
        inode.durable_len = inode.len;
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change(|state, inode, crash| {
            if crash {
                return Err(down());
            }
            let used = state.used();
            let capacity = state.capacity;
            let found = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
            if used.saturating_add(len.saturating_sub(found.reserved)) > capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
            found.reserved = found.reserved.max(len);
            found.len = found.len.max(len);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|state, inode, crash| {
            if crash {
                return Err(down());
            }
            let found = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
            found.len = len;
            let sectors = len.div_ceil(SECTOR);
            found.live.retain(|sector, _| *sector < sectors);
            Ok(())
        })
    }

    fn zero(&self, pos: u64, len: u64) -> io::Result<()> {
        self.change(|state, inode, crash| {
            let found = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
            let end = pos.saturating_add(len);
            let present: Vec<u64> =
                found.live.range(pos / SECTOR..end.div_ceil(SECTOR)).map(|(sector, _)| *sector).collect();
            for sector in present {
                let from = sector.saturating_mul(SECTOR).max(pos);
                let to = sector.saturating_add(1).saturating_mul(SECTOR).min(end);
                let zeros = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
                write_live(found, &zeros, from);
            }
            found.len = found.len.max(end);
            if crash { Err(down()) } else { Ok(()) }
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|inode| Ok(inode.len))
    }
}

struct FaultyLock {
    disk: FaultyDisk,
    path: PathBuf,
}

impl DiskLock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life == self.disk.life {
            state.locked.remove(&self.path);
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check(self.life)?;
        for dir in path.ancestors() {
            state.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let crash = state.step(self.life)?;
        if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = state.next_inode;
        state.next_inode = inode.saturating_add(1);
        state.inodes.insert(inode, Inode::default());
        state.names.insert(path.to_owned(), inode);
        state.pending.push(NameChange::Link(path.to_owned(), inode));
        if crash { Err(down()) } else { Ok(self.file(inode)) }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        state.check(self.life)?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state.lock();
        state.check(self.life)?;
        let mut found = Vec::new();
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        for path in state.dirs.iter().filter(|path| path.parent() == Some(dir)) {
            found.extend(name(path).map(|name| DirEntry { name, is_dir: true, len: 0 }));
        }
        for (path, inode) in state.names.iter().filter(|(path, _)| path.parent() == Some(dir)) {
            let len = state.inodes.get(inode).map_or(0, |inode| inode.len);
            found.extend(name(path).map(|name| DirEntry { name, is_dir: false, len }));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let crash = state.step(self.life)?;
        if state.names.remove(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.pending.push(NameChange::Unlink(path.to_owned()));
        if crash { Err(down()) } else { Ok(()) }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let crash = state.step(self.life)?;
        let gone: Vec<PathBuf> = state.names.keys().filter(|name| name.starts_with(path)).cloned().collect();
        for name in gone {
            state.names.remove(&name);
            state.pending.push(NameChange::Unlink(name));
        }
        state.dirs.retain(|dir| !dir.starts_with(path));
        if crash { Err(down()) } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let crash = state.step(self.life)?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.pending.push(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        if crash { Err(down()) } else { Ok(()) }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.step(self.life)? {
            return Err(down());
        }
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.pending).into_iter().partition(|change| touches(change, path));
        for change in &now {
            apply(&mut state.durable_names, change);
        }
        state.pending = later;
        Ok(())
    }

    fn sync_all(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.step(self.life)? {
            return Err(down());
        }
        state.pending.clear();
        state.durable_names = state.names.clone();
        for inode in state.inodes.values_mut() {
            inode.dirty.clear();
            inode.durable = inode.live.clone();
            inode.durable_len = inode.len;
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state.lock();
        state.check(self.life)?;
        if !state.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultyLock { disk: self.clone(), path: path.to_owned() }))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        state.check(self.life)?;
        let total = state.capacity;
        Ok(Space { total, available: total.saturating_sub(state.used()) })
    }

    fn boot_id(&self) -> String {
        self.state.lock().boot.to_string()
    }
}
