//! Owns the way of a snapshot to a replica whose log cannot be continued: the files of the master's newest snapshot go over
//! the link, then the replica empties its store and begins anew with them, its log where the master's begins.
//!
//! A crash in between is harmless: nothing of the store is touched before all files are on disk in their own folder together
//! with a seed for the store, and [`install`] goes on from that at the next start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bolide_replication::{Message, REPLICA_FILE};
use bolide_store::{Disk, Seed, StoreConfig};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::identity::Remembered;
use super::link::Out;
use crate::broker::Broker;

/// Folder in the store's root for what comes in.
const INCOMING: &str = "incoming-snapshot";
/// The file in it that says that it is whole: where the log begins, and what the log before told.
const NOTE: &str = "seed";
/// Folder of the snapshot's files.
const CONFIG: &str = "config";
/// Bytes of a file sent at once.
const CHUNK: usize = 1 << 20;

/// Pause before what could not be sent may be asked for again.
const RETRY: Duration = Duration::from_secs(1);

/// Kinds of what is sent, the first byte.
const WANTED: u8 = 1;
const PART: u8 = 2;
const WHOLE: u8 = 3;

/// What has come in.
pub(super) enum Got {
    /// The other side wants a snapshot.
    Wanted,
    /// A snapshot is here, on disk.
    Whole,
}

/// Asks for a snapshot.
pub(super) fn request() -> Bytes {
    Bytes::from_static(&[WANTED])
}

/// Makes a snapshot and sends it. False, after a pause, when that failed: the connection is to be closed, so that the other side
/// asks again.
pub(super) async fn send(broker: Arc<Broker>, out: mpsc::Sender<Out>) -> bool {
    let sent = send_files(broker, out).await;
    if let Err(error) = &sent {
        tracing::warn!(%error, "a snapshot was not sent");
        tokio::time::sleep(RETRY).await;
    }
    sent.is_ok()
}

async fn send_files(broker: Arc<Broker>, out: mpsc::Sender<Out>) -> io::Result<()> {
    let config = broker.live().config.clone();
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let maker = broker.clone();
    let saved = tokio::task::spawn_blocking(move || maker.save_snapshot().map(drop)).await;
    saved.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let folder = config.store_path_root_dir.join(CONFIG);
    let maker = broker.clone();
    let read = tokio::task::spawn_blocking(move || {
        // The description and the files it describes: of one that is saved meanwhile there would be some of each.
        let _none_is_saved = maker.saving.lock();
        files_of(&folder)
    });
    let read = read.await;
    for (name, bytes) in read.map_err(io::Error::other)?? {
        let mut rest = Bytes::from(bytes);
        loop {
            let chunk = rest.split_to(rest.len().min(CHUNK));
            let mut part = BytesMut::with_capacity(chunk.len() + name.len() + 3);
            part.put_u8(PART);
            part.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
            part.put_slice(name.as_bytes());
            part.put_slice(&chunk);
            out.send(Out::Message(Message::Shell(part.freeze()))).await.map_err(gone)?;
            if rest.is_empty() {
                break;
            }
        }
    }
    let maker = broker.clone();
    let seed = tokio::task::spawn_blocking(move || maker.store.seed(maker.store.watermarks().min)).await;
    let seed = seed.map_err(io::Error::other)??;
    let mut whole = BytesMut::with_capacity(1 + seed.as_bytes().len());
    whole.put_u8(WHOLE);
    whole.put_slice(seed.as_bytes());
    out.send(Out::Message(Message::Shell(whole.freeze()))).await.map_err(gone)?;
    Ok(())
}

/// The files of a snapshot, by name.
fn files_of(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if entry.file_type()?.is_file() && is_name(&name) {
            found.push((name, fs::read(entry.path())?));
        }
    }
    Ok(found)
}

/// A file of a snapshot: neither a path nor one that is being written.
fn is_name(name: &str) -> bool {
    !name.starts_with('.')
        && !name.ends_with(".tmp")
        && name != NOTE
        && name.len() < 200
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// What comes in on one connection.
#[derive(Default)]
pub(super) struct Incoming {
    begun: bool,
    file: Option<(String, File)>,
}

impl Incoming {
    /// Takes what the other side sent.
    pub(super) async fn take(&mut self, broker: &Arc<Broker>, mut bytes: Bytes) -> io::Result<Option<Got>> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let folder = broker.live.load().config.store_path_root_dir.join(INCOMING);
        match bytes.try_get_u8().map_err(|_| malformed())? {
            WANTED => Ok(Some(Got::Wanted)),
            PART => {
                let len = usize::from(bytes.try_get_u16().map_err(|_| malformed())?);
                if len > bytes.len() {
                    return Err(malformed());
                }
                let name = bytes.split_to(len);
                let name = std::str::from_utf8(&name).ok().filter(|name| is_name(name));
                let name = name.ok_or_else(malformed)?.to_owned();
                let mut taken = std::mem::take(self);
                let work = move || taken.write(&folder, name, &bytes).map(|()| taken);
                *self = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
                Ok(None)
            }
            WHOLE => {
                let seed = Seed::decode(bytes).ok_or_else(malformed)?;
                let mut taken = std::mem::take(self);
                let work = move || taken.finish(&folder, &seed);
                tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
                Ok(Some(Got::Whole))
            }
            _ => Err(malformed()),
        }
    }

    fn write(&mut self, folder: &Path, name: String, bytes: &[u8]) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::create_dir_all(folder)?,
            }
        }
        match &mut self.file {
            Some((open, file)) if *open == name => file.write_all(bytes),
            _ => {
                self.sync()?;
                let mut file = File::create(folder.join(&name))?;
                file.write_all(bytes)?;
                self.file = Some((name, file));
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |(_, file)| file.sync_all())
    }

    fn finish(&mut self, folder: &Path, seed: &Seed) -> io::Result<()> {
        self.sync()?;
        fs::create_dir_all(folder)?;
        let note = folder.join(NOTE);
        let temporary = note.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(seed.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &note)?;
        File::open(folder)?.sync_all()
    }
}

/// Empties the store below `root` and fills it with a snapshot that has come in, if there is one that is whole. The replica
/// becomes another member: what it held is gone.
pub(super) fn install(disk: &dyn Disk, store: &StoreConfig) -> io::Result<bool> {
    let root = store.root.as_path();
    let folder = root.join(INCOMING);
    let seed = match fs::read(folder.join(NOTE)) {
        Ok(bytes) => Seed::decode(bytes.into()).ok_or(io::ErrorKind::InvalidData)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Remembered::open(disk, root).and_then(|remembered| remembered.emptied(disk)).map_err(io::Error::other)?;
    for entry in fs::read_dir(root)? {
        let path: PathBuf = entry?.path();
        let kept = path.file_name().is_some_and(|name| name == INCOMING || name == REPLICA_FILE);
        if kept {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
    }
    bolide_store::bootstrap(disk, store, &seed).map_err(io::Error::other)?;
    let config = root.join(CONFIG);
    fs::create_dir_all(&config)?;
    for (name, bytes) in files_of(&folder)? {
        let mut file = File::create(config.join(name))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
    }
    File::open(&config)?.sync_all()?;
    File::open(root)?.sync_all()?;
    fs::remove_file(folder.join(NOTE))?;
    fs::remove_dir_all(&folder)?;
    tracing::info!(base = seed.base.0, "the store begins anew with the master's snapshot");
    Ok(true)
}
