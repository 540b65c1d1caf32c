//! Where a filter is kept between two lives of a process.
//!
//! `current` names the epoch that holds; `<epoch>.filter` is the filter as it was when it began to serve, and
//! `<epoch>.journal` has the keys that came since it was begun. All other files are leftovers.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use backends::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::journal::{Journal, Name};
use crate::AnyFilter;

/// A folder of one process.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    name: Name,
    pub(super) journals: Mutex<Journals>,
    /// Held while the process lives.
    _lock: File,
}

/// The journals that are open.
#[derive(Debug, Default)]
pub(super) struct Journals {
    pub(super) serving: Option<Journal>,
    pub(super) next: Option<Journal>,
    /// How often something was added.
    pub(super) added: u64,
}

impl Journals {
    /// Takes no more: what the disk has of it cannot be told.
    pub(super) fn give_up(&mut self) {
        [&mut self.serving, &mut self.next].into_iter().flatten().for_each(Journal::give_up);
    }
}

/// What an earlier life left.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) epoch: u64,
    pub(super) filter: AnyFilter,
    /// The keys that came later.
    pub(super) later: Vec<u64>,
}

impl Files {
    /// Takes the folder, and what is in it if that can be trusted.
    ///
    /// # Errors
    ///
    /// `Conflict` while another process has it; what the file system reports.
    pub(super) fn open(folder: &Path, hasher: u64, synced: bool) -> Result<(Self, Option<Found>)> {
        fs::create_dir_all(folder).map_err(|error| failed("open", folder, error))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(|error| failed("open", &path, error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let message = format!("another process uses {}", folder.display());
            Error::new(ErrorKind::Conflict, "memory", "open", message).with_source(error)
        })?;
        let name = Name { epoch: 0, boot: boot(), hasher, synced };
        let mut files = Self { folder: folder.to_owned(), name, journals: Mutex::default(), _lock: lock };
        let found = files.find().map_err(|error| failed("open", folder, error))?;
        Ok((files, found))
    }

    fn find(&mut self) -> io::Result<Option<Found>> {
        let current = fs::read_to_string(self.folder.join("current"));
        let Some(epoch) = current.ok().and_then(|epoch| epoch.trim().parse().ok()) else { return Ok(None) };
        // Missing or damaged, there is nothing to believe: a rebuild follows.
        let Ok(bytes) = fs::read(self.path(epoch, "filter")) else { return Ok(None) };
        let Ok(filter) = AnyFilter::decode(&bytes, self.name.hasher) else { return Ok(None) };
        let name = Name { epoch, ..self.name };
        match Journal::open(&self.path(epoch, "journal"), name) {
            Ok(Some((journal, later))) => {
                self.journals.get_mut().serving = Some(journal);
                Ok(Some(Found { epoch, filter, later }))
            }
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The highest number of an epoch that left files.
    pub(super) fn last_epoch(&self) -> u64 {
        let epochs = fs::read_dir(&self.folder).into_iter().flatten().filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.split_once('.')?.0.parse().ok()
        });
        epochs.max().unwrap_or(0)
    }

    /// Opens the journal of an epoch that is to be built.
    pub(super) fn begin(&self, epoch: u64) -> Result<()> {
        let path = self.path(epoch, "journal");
        let journal = Journal::create(&path, Name { epoch, ..self.name })
            .map_err(|error| failed("rebuild", &path, error))?;
        self.journals.lock().next = Some(journal);
        Ok(())
    }

    /// Stores a filter, and lets it be the one that holds.
    pub(super) fn commit(&self, epoch: u64, filter: &[u8]) -> Result<()> {
        self.replace(&self.path(epoch, "filter"), filter)?;
        self.replace(&self.folder.join("current"), format!("{epoch}\n").as_bytes())
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what all epochs but `kept` left.
    pub(super) fn sweep(&self, kept: u64) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let epoch: Option<u64> =
                name.to_str().and_then(|name| name.split_once('.')).and_then(|(epoch, _)| epoch.parse().ok());
            if epoch.is_some_and(|epoch| epoch != kept) {
                // What stays is swept next time.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Gives up an epoch that was to be built.
    pub(super) fn abandon(&self, epoch: u64) {
        self.journals.lock().next = None;
        for end in ["journal", "filter"] {
            let _ = fs::remove_file(self.path(epoch, end));
        }
    }

    /// Marks a clean end.
    pub(super) fn close(&self) -> Result<()> {
        let mut journals = self.journals.lock();
        journals.next = None;
        journals.serving.take().map_or(Ok(()), |mut journal| {
            journal.close().map_err(|error| failed("close", &self.folder, error))
        })
    }

    fn path(&self, epoch: u64, end: &str) -> PathBuf {
        self.folder.join(format!("{epoch}.{end}"))
    }

    /// Writes a file that is there whole or not at all.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let write = || {
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| failed("rebuild", path, error))
    }
}

pub(super) fn failed(op: &'static str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "memory", op, path.display().to_string()).with_source(error)
}

/// What names this run of the system; 0 where that cannot be told.
fn boot() -> u64 {
    fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |boot| xxhash_rust::xxh3::xxh3_64(&boot))
}
