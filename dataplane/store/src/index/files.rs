//! All index files: the newest takes entries, the others are complete.

use std::{io, path::PathBuf, sync::Arc};

use bolide_wire::EpochMillis;

use super::{
    Key,
    file::{IndexFile, Shape},
};
use crate::disk::Disk;

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    pub(crate) hash: i32,
    /// Store time in ms, inclusive.
    pub(crate) begin: i64,
    pub(crate) end: i64,
    pub(crate) max: usize,
}

pub(crate) struct IndexFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    shape: Shape,
    /// Oldest first.
    files: Vec<IndexFile>,
    /// Records up to here had their entries when the files were opened; they are not entered again.
    known: Option<u64>,
}

impl IndexFiles {
    /// Opens what is there. Files of another size are left alone and not used.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf, shape: Shape) -> io::Result<Self> {
        disk.create_dir(&dir)?;
        disk.sync_dir(&dir)?;
        let found = disk.list(&dir)?;
        let usable: Vec<_> = found
            .into_iter()
            .filter(|entry| !entry.is_dir && entry.len == shape.file_bytes())
            .filter(|entry| entry.name.len() == 17 && entry.name.bytes().all(|byte| byte.is_ascii_digit()))
            .collect();
        let last = usable.len().saturating_sub(1);
        let mut files = Vec::with_capacity(usable.len());
        for (number, entry) in usable.into_iter().enumerate() {
            let file = disk.open(&dir.join(&entry.name))?;
            files.push(IndexFile::open(entry.name, file, shape, number != last)?);
        }
        let mut opened = Self { disk, dir, shape, files, known: None };
        opened.known = opened.end_offset();
        Ok(opened)
    }

    pub(crate) fn newest_time(&self) -> i64 {
        self.files.last().map_or(0, |file| file.header.end_timestamp)
    }

    /// Log offset of the newest record with an entry.
    pub(crate) fn end_offset(&self) -> Option<u64> {
        self.files.last().filter(|file| file.header.next_entry > 1).map(|file| file.header.end_offset)
    }

    /// Removes all files: they know records that the log does not have.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.known = None;
        for file in self.files.drain(..) {
            self.disk.remove(&self.dir.join(file.name))?;
        }
        self.disk.sync_dir(&self.dir)
    }

    /// Enters a key; keys of records that are known already are ignored.
    pub(crate) fn put(&mut self, key: &Key, now: EpochMillis) -> io::Result<()> {
        if self.known.is_some_and(|known| key.log_offset <= known) {
            return Ok(());
        }
        if self.files.last().is_none_or(IndexFile::is_full) {
            self.add(now)?;
        }
        match self.files.last_mut() {
            Some(file) => file.put(key),
            None => Ok(()),
        }
    }

    fn add(&mut self, now: EpochMillis) -> io::Result<()> {
        if let Some(last) = self.files.last_mut() {
            last.seal()?;
        }
        // Names grow even if the clock goes back.
        let mut name = file_name(now.0);
        if let Some(last) = self.files.last().filter(|last| last.name >= name) {
            name = next_name(&last.name);
        }
        let file = self.disk.create(&self.dir.join(&name))?;
        file.set_len(self.shape.file_bytes())?;
        self.disk.sync_dir(&self.dir)?;
        self.files.push(IndexFile::new(name, file, self.shape));
        Ok(())
    }

    pub(crate) fn sync(&mut self, complete: bool) -> io::Result<()> {
        self.files.last_mut().map_or(Ok(()), |file| file.sync(complete))
    }

    pub(crate) fn lookup(&mut self, lookup: &Lookup) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for file in self.files.iter_mut().rev() {
            if found.len() >= lookup.max {
                break;
            }
            let header = file.header;
            if header.next_entry > 1
                && header.begin_timestamp <= lookup.end
                && header.end_timestamp >= lookup.begin
            {
                file.lookup(lookup.hash, lookup.begin, lookup.end, lookup.max, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Removes the files all of whose records are gone, never the newest.
    pub(crate) fn remove_below(&mut self, log_min: u64) -> io::Result<()> {
        let mut removed = false;
        while self.files.len() > 1 && self.files.first().is_some_and(|file| file.header.end_offset < log_min)
        {
            let file = self.files.remove(0);
            self.disk.remove(&self.dir.join(file.name))?;
            removed = true;
        }
        if removed { self.disk.sync_dir(&self.dir) } else { Ok(()) }
    }
}

/// `yyyyMMddHHmmssSSS`, in UTC.
fn file_name(millis: i64) -> String {
    let time =
        jiff::Timestamp::from_millisecond(millis).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
    time.strftime("%Y%m%d%H%M%S%3f").to_string()
}

fn next_name(name: &str) -> String {
    let number = name.parse::<u64>().unwrap_or(0).saturating_add(1);
    format!("{number:017}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_time_of_its_making() {
        assert_eq!(file_name(1_700_000_000_123), "20231114221320123");
        assert_eq!(next_name("20231114221320999"), "20231114221321000");
    }
}
