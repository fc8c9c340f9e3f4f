//! The machine's file system: positioned vectored writes, fdatasync, fallocate, read-only maps.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use rustix::{
    fs::{FallocateFlags, FlockOperation},
    io::Errno,
};

use super::{DirEntry, Disk, DiskFile, DiskLock, Space};
use crate::mapped;

/// Buffers that one `pwritev` takes.
const IOV_MAX: usize = 1024;
/// Zeros written at once where the file system cannot zero or allocate a range itself.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The machine's file system.
#[derive(Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

struct RealFile {
    file: File,
    map: OnceLock<Bytes>,
}

impl RealFile {
    fn open(file: File) -> Arc<dyn DiskFile> {
        Arc::new(Self { file, map: OnceLock::new() })
    }

    /// The whole file, mapped at the first call; its length is fixed by then.
    fn map(&self) -> io::Result<&Bytes> {
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        let len = usize::try_from(self.len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let map = mapped::map(&self.file, len)?;
        Ok(self.map.get_or_init(|| map))
    }

    fn write_zeros(&self, pos: u64, len: u64) -> io::Result<()> {
        let end = pos.saturating_add(len);
        let mut at = pos;
        while at < end {
            let step = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(ZEROS.len());
            self.file.write_all_at(ZEROS.get(..step).unwrap_or_default(), at)?;
            at = at.saturating_add(step as u64);
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, bufs: &mut [IoSlice<'_>], pos: u64) -> io::Result<()> {
        let mut rest = bufs;
        let mut at = pos;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let some = rest.get(..rest.len().min(IOV_MAX)).unwrap_or_default();
            match rustix::io::pwritev(&self.file, some, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at = at.saturating_add(written as u64);
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, pos)
    }

    fn view(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        let map = self.map()?;
        let start = usize::try_from(pos).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        if end > map.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(map.slice(start..end))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => {
                let present = self.len()?;
                self.write_zeros(present, len.saturating_sub(present))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn zero(&self, pos: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::ZERO_RANGE, pos, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => self.write_zeros(pos, len),
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Both kinds of lock: `flock` holds against a second store in this process, the record lock against a Java broker.
struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_dir(parent)?;
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => return self.sync_dir(parent),
            }
        }
        fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(RealFile::open(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::open(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata()?;
            found.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len() });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => return Err(error.into()),
        }
        file.write_all(b"lock")?;
        Ok(Box::new(RealLock { _file: file }))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        let used = found.f_blocks.saturating_sub(found.f_bfree);
        Ok(Space {
            total: used.saturating_add(found.f_bavail).saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn boot_id(&self) -> String {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    }
}
