//! One file of the commit log, and the list of all.
//!
//! A segment has its full length, with all blocks allocated and zero, before it gets its name; it never changes its
//! length. The list is replaced as a whole, so that readers take no lock; who holds a segment may read it even after it
//! was retired.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};

/// One file of the commit log.
pub(crate) struct Segment {
    /// Log offset of its first byte; a multiple of its size.
    pub(crate) base: u64,
    pub(crate) size: u64,
    file: Arc<dyn DiskFile>,
}

/// Name of the segment that starts at `base`.
pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:020}")
}

impl Segment {
    /// Makes a file, durable. A crash in between leaves at most a file that is no segment by its name.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, base: u64, size: u64) -> io::Result<Self> {
        let path = dir.join(segment_name(base));
        let unfinished = path.with_extension("new");
        let file = disk.create(&unfinished)?;
        let made = file
            .allocate(size)
            .and_then(|()| file.sync_data())
            .and_then(|()| disk.rename(&unfinished, &path))
            .and_then(|()| disk.sync_dir(dir));
        if let Err(error) = made {
            // Best effort: opening the store removes what is left of it.
            let _ = disk.remove(&unfinished);
            return Err(error);
        }
        Ok(Self { base, size, file })
    }

    pub(crate) fn open(disk: &dyn Disk, dir: &Path, base: u64, size: u64) -> io::Result<Self> {
        Ok(Self { base, size, file: disk.open(&dir.join(segment_name(base)))? })
    }

    /// Log offset after its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }

    fn within(&self, offset: u64) -> io::Result<u64> {
        offset.checked_sub(self.base).filter(|within| *within <= self.size).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "log offset is outside of its segment")
        })
    }

    pub(crate) fn write(&self, bufs: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write_at(bufs, self.within(offset)?)
    }

    /// Copies bytes out; the range must lie in the segment.
    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, self.within(offset)?)
    }

    /// Bytes of published records, as they lie in the page cache.
    pub(crate) fn view(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.file.view(self.within(offset)?, len)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes everything from `offset` on zero.
    pub(crate) fn zero_from(&self, offset: u64) -> io::Result<()> {
        let within = self.within(offset)?;
        self.file.zero(within, self.size.saturating_sub(within))
    }
}

/// All segments, without gaps, oldest first.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    size: u64,
    list: ArcSwap<Vec<Arc<Segment>>>,
    /// A segment made ahead of its use.
    spare: Mutex<Option<Segment>>,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, size: u64, list: Vec<Arc<Segment>>) -> Self {
        Self { disk, dir, size, list: ArcSwap::from_pointee(list), spare: Mutex::new(None) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn all(&self) -> Arc<Vec<Arc<Segment>>> {
        self.list.load_full()
    }

    /// First byte of the oldest segment; `None` without any.
    pub(crate) fn min(&self) -> Option<u64> {
        self.list.load().first().map(|segment| segment.base)
    }

    pub(crate) fn last(&self) -> Option<Arc<Segment>> {
        self.list.load().last().cloned()
    }

    /// The segment that holds `offset`.
    pub(crate) fn find(&self, offset: u64) -> Option<Arc<Segment>> {
        let list = self.list.load();
        let first = list.first()?.base;
        let index = offset.checked_sub(first)?.checked_div(self.size)?;
        list.get(usize::try_from(index).ok()?).cloned()
    }

    /// The segments that hold bytes of `from..to`.
    pub(crate) fn between(&self, from: u64, to: u64) -> Vec<Arc<Segment>> {
        let list = self.list.load();
        list.iter().filter(|segment| segment.base < to && segment.end() > from).cloned().collect()
    }

    /// Offset at which the segment after the last one starts.
    fn next_base(&self) -> u64 {
        self.list.load().last().map_or(0, |last| last.end())
    }

    /// Makes the next segment ahead of its use, unless there is one already.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        // Held while the file is made: who needs it meanwhile waits for this one rather than making it twice.
        let mut spare = self.spare.lock();
        let base = self.next_base();
        if spare.as_ref().is_none_or(|spare| spare.base != base) {
            *spare = Some(Segment::create(self.disk.as_ref(), &self.dir, base, self.size)?);
        }
        Ok(())
    }

    /// Appends the next segment to the list: the spare one, or one made now.
    pub(crate) fn add(&self) -> io::Result<Arc<Segment>> {
        let mut spare = self.spare.lock();
        let base = self.next_base();
        let segment = match spare.take().filter(|spare| spare.base == base) {
            Some(segment) => segment,
            None => Segment::create(self.disk.as_ref(), &self.dir, base, self.size)?,
        };
        let segment = Arc::new(segment);
        self.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// Appends a segment that starts at `base` to an empty list: the start of a new log.
    pub(crate) fn add_first(&self, base: u64) -> io::Result<Arc<Segment>> {
        let segment = Arc::new(Segment::create(self.disk.as_ref(), &self.dir, base, self.size)?);
        self.push(Arc::clone(&segment));
        Ok(segment)
    }

    fn push(&self, segment: Arc<Segment>) {
        self.list.rcu(|list| {
            let mut list = Vec::clone(list);
            list.push(Arc::clone(&segment));
            list
        });
    }

    fn path(&self, base: u64) -> PathBuf {
        self.dir.join(segment_name(base))
    }

    /// Retires the oldest segment. Readers that hold it go on reading; its blocks are freed after them.
    pub(crate) fn remove_first(&self) -> io::Result<()> {
        let Some(first) = self.list.load().first().cloned() else { return Ok(()) };
        self.list.rcu(|list| list.iter().skip(1).cloned().collect::<Vec<_>>());
        self.disk.remove(&self.path(first.base))?;
        self.disk.sync_dir(&self.dir)
    }

    /// Removes all segments that start after `offset`, durable.
    pub(crate) fn remove_after(&self, offset: u64) -> io::Result<()> {
        let mut spare = self.spare.lock();
        let list = self.list.load_full();
        let gone: Vec<_> = list.iter().filter(|segment| segment.base > offset).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.list
            .rcu(|list| list.iter().filter(|segment| segment.base <= offset).cloned().collect::<Vec<_>>());
        // The newest first and each by itself, so that no crash leaves a gap.
        let spare = spare.take().map(|spare| spare.base);
        for base in spare.into_iter().chain(gone.iter().rev().map(|segment| segment.base)) {
            self.disk.remove(&self.path(base))?;
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Removes the spare segment; for a clean close.
    pub(crate) fn remove_spare(&self) -> io::Result<()> {
        let Some(spare) = self.spare.lock().take() else { return Ok(()) };
        self.disk.remove(&self.path(spare.base))?;
        self.disk.sync_dir(&self.dir)
    }
}
