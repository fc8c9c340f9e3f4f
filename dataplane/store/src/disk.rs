//! The file system as the store sees it: [`RealDisk`] in production, [`FaultyDisk`] (in memory, fails and crashes on
//! demand) in tests and in the simulator.
//!
//! Durability is the caller's business: bytes are durable after `sync_data` of the file, names after `sync_dir`.

mod faulty;
mod real;

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;

pub use faulty::{Crash, Fault, FaultyDisk};
pub use real::RealDisk;

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Name within the folder; entries whose name is not UTF-8 are left out.
    pub name: String,
    /// True for a folder.
    pub is_dir: bool,
    /// Bytes of a file.
    pub len: u64,
}

/// Size of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in use and bytes that may still be written. Blocks that are free but reserved for others are in neither, so
    /// that the used part is what `df` shows and what the original goes by.
    pub total: u64,
    /// Bytes that may still be written.
    pub available: u64,
}

/// Held as long as the store is open; the lock ends with it.
pub trait DiskLock: Send + Sync {}

/// One open file. All methods may be called from several threads at once.
pub trait DiskFile: Send + Sync {
    /// Writes all of the buffers one after the other from `pos`. After an error any part may be written.
    fn write_at(&self, bufs: &mut [IoSlice<'_>], pos: u64) -> io::Result<()>;
    /// Fills `buf` from `pos`; `UnexpectedEof` when the file ends before.
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<()>;
    /// A shared view of `len` bytes from `pos`, without copying where the disk can. Only for files that were allocated
    /// in full, and only for bytes that are not written again.
    fn view(&self, pos: u64, len: usize) -> io::Result<Bytes>;
    /// Forces written bytes, and the length, to disk.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the file `len` bytes long with all blocks reserved; new bytes are zero.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes the file `len` bytes long, sparse; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes `len` bytes from `pos` zero and keeps their blocks reserved.
    fn zero(&self, pos: u64, len: u64) -> io::Result<()>;
    /// Bytes of the file.
    fn len(&self) -> io::Result<u64>;
    /// True when the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Makes a folder and those above it, durable.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a new empty file for reading and writing, replacing one that exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// What a folder holds, by name; nothing when there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all in it; no error when there is none.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing one that exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Forces the names in a folder to disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Forces everything written to the file system of `path` to disk: cheaper than very many `sync_data`.
    fn sync_all(&self, path: &Path) -> io::Result<()>;
    /// Locks a file exclusively, making it with the text `lock` if need be; `WouldBlock` when another holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
    /// Size of the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Changes whenever unsynced bytes may have been lost since: an identifier of the machine's start.
    fn boot_id(&self) -> String;
}

/// Reads a whole small file; `None` when there is none. Longer than `limit` bytes is an error.
pub(crate) fn read_small(disk: &dyn Disk, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    if len > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "file is longer than it can be"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// Replaces a small file so that a crash leaves the old or the new one.
pub(crate) fn replace_small(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = disk.create(&temporary)?;
    let written = file.write_at(&mut [IoSlice::new(bytes)], 0).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // Best effort: the next try replaces it.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}
