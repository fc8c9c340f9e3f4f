//! Read-only maps of files: the only unsafe code of the data plane.
//!
//! Rules that every caller keeps, and on which the block below relies:
//! - the store folder is locked, so no other process of ours changes the file;
//! - a mapped file has all its blocks allocated and is never shortened, so no access faults with SIGBUS for want of space;
//! - bytes that were handed out as a slice are never written again: slices cover published records only, and truncation
//!   and zeroing happen at open, before a slice is handed out, or beyond everything published;
//! - a retired file is unlinked while slices still live; the map keeps its blocks until the last slice is dropped.

#![expect(unsafe_code, reason = "memory maps; see the rules above")]

use std::{fs::File, io};

use bytes::Bytes;
use memmap2::MmapOptions;

/// Maps the first `len` bytes of a file. The returned bytes keep the map alive.
pub(crate) fn map(file: &File, len: usize) -> io::Result<Bytes> {
    // SAFETY: the map is shared and read-only. By the rules of this module the range exists for the life of the map, and
    // the parts of it that are read through a slice are not modified any more.
    let map = unsafe { MmapOptions::new().len(len).map(file)? };
    Ok(Bytes::from_owner(map))
}
