//! The keys that came after a filter was stored.
//!
//! A header of 32 bytes (`PJRN`, a version byte, 1 when the disk had each record before it counted, two zeros, the epoch,
//! the boot of the system, the fingerprint of the hasher), then 12 bytes a key: its hash, and 32 bits of the XXH3 of the hash, seeded by epoch and place. A clean end is
//! a record whose check is inverted, over the number of records before it. Numbers are little-endian.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::Path,
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAGIC: [u8; 5] = *b"PJRN\x01";
const HEADER: usize = 32;
const RECORD: usize = 12;
/// With more keys than these, a journal is given up.
const MOST_OWED: usize = 1 << 20;

/// A journal that is open for more.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    epoch: u64,
    /// Records that are whole.
    records: u64,
    /// Keys whose write failed: the filter has them, so nobody would bring them again.
    owed: Vec<u64>,
    /// What a write that failed left behind could not be taken away.
    broken: bool,
    buffer: Vec<u8>,
}

/// Which journal: what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) epoch: u64,
    /// This run of the system; 0 where that cannot be told.
    pub(super) boot: u64,
    pub(super) hasher: u64,
    /// The disk has each record before it counts.
    pub(super) synced: bool,
}

impl Name {
    fn header(self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..5].copy_from_slice(&MAGIC);
        header[5] = self.synced.into();
        for (place, number) in [self.epoch, self.boot, self.hasher].into_iter().enumerate() {
            header[8 + place * 8..16 + place * 8].copy_from_slice(&number.to_le_bytes());
        }
        header
    }
}

impl Journal {
    /// A new one.
    pub(super) fn create(path: &Path, name: Name) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(&name.header())?;
        file.sync_all()?;
        Ok(Self { file, epoch: name.epoch, records: 0, owed: Vec::new(), broken: false, buffer: Vec::new() })
    }

    /// One that is there, and its keys; `None`, and nothing is changed, when some may be missing.
    pub(super) fn open(path: &Path, name: Name) -> io::Result<Option<(Self, Vec<u64>)>> {
        let bytes = fs::read(path)?;
        let file = OpenOptions::new().write(true).open(path)?;
        let Some(hashes) = replay(&bytes, name) else { return Ok(None) };
        let records = hashes.len() as u64;
        let mut journal =
            Self { file, epoch: name.epoch, records, owed: Vec::new(), broken: false, buffer: Vec::new() };
        // What a death left half-written goes, and the mark of a clean end.
        journal.cut()?;
        journal.file.sync_all()?;
        journal.file.seek(SeekFrom::Start(0))?;
        journal.file.write_all(&name.header())?;
        journal.file.sync_all()?;
        journal.file.seek(SeekFrom::End(0))?;
        Ok(Some((journal, hashes)))
    }

    /// Adds keys, with those whose addition failed before.
    pub(super) fn append(&mut self, hashes: &[u64]) -> io::Result<()> {
        self.owed.extend_from_slice(hashes);
        if self.owed.is_empty() {
            return Ok(());
        }
        self.buffer.clear();
        for (place, hash) in (self.records..).zip(&self.owed) {
            record(&mut self.buffer, *hash, check(*hash, self.epoch, place));
        }
        self.write()?;
        self.records += self.owed.len() as u64;
        self.owed.clear();
        Ok(())
    }

    /// Marks a clean end, and waits for the disk.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.append(&[])?;
        self.buffer.clear();
        record(&mut self.buffer, self.records, !check(self.records, self.epoch, self.records));
        self.write()?;
        self.file.sync_all()
    }

    /// Takes no more.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
    }

    /// A handle to wait for the disk by.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    fn write(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed, and could not be undone"));
        }
        let written = self.file.write_all(&self.buffer);
        if written.is_err() {
            self.broken = self.owed.len() > MOST_OWED || self.cut().is_err();
        }
        written
    }

    fn cut(&mut self) -> io::Result<()> {
        let end = HEADER as u64 + self.records * RECORD as u64;
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end)).map(drop)
    }
}

fn check(hash: u64, epoch: u64, place: u64) -> u32 {
    xxh3_64_with_seed(&hash.to_le_bytes(), epoch.rotate_left(40) ^ place) as u32
}

fn record(out: &mut Vec<u8>, hash: u64, check: u32) {
    out.extend_from_slice(&hash.to_le_bytes());
    out.extend_from_slice(&check.to_le_bytes());
}

/// The keys that `bytes` have; `None` when they were damaged, are of another journal, or may lack some at the end.
fn replay(bytes: &[u8], name: Name) -> Option<Vec<u64>> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let [synced, same_boot] = [header[5] == 1, header[16..24] == name.boot.to_le_bytes() && name.boot != 0];
    let written = Name { synced, ..name }.header();
    if header[..16] != written[..16] || header[24..] != written[24..] {
        return None;
    }
    let (records, _) = rest.as_chunks::<RECORD>();
    let mut hashes = Vec::with_capacity(records.len());
    let mut closed = false;
    for (place, record) in (0..).zip(records) {
        let (hash, found) = record.split_first_chunk::<8>()?;
        let (hash, found) = (u64::from_le_bytes(*hash), u32::from_le_bytes(found.try_into().ok()?));
        let right = check(hash, name.epoch, place);
        let is_last = place + 1 == records.len() as u64;
        if found == right {
            hashes.push(hash);
        } else if found == !right && hash == place && is_last {
            closed = true;
        } else {
            return None;
        }
    }
    (closed || same_boot || synced).then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name = Name { epoch: 3, boot: 5, hasher: 7, synced: false };

    fn written(hashes: &[u64], name: Name, close: bool) -> Vec<u8> {
        let scratch = testkit::Scratch::new().unwrap();
        let path = scratch.path().join("journal");
        let mut journal = Journal::create(&path, name).unwrap();
        journal.append(hashes).unwrap();
        if close {
            journal.close().unwrap();
        }
        fs::read(&path).unwrap()
    }

    #[test]
    fn what_was_written_comes_back() {
        let hashes = vec![1, u64::MAX, 3];
        let later = Name { boot: 6, ..NAME };
        let open = written(&hashes, NAME, false);
        assert_eq!(replay(&open, NAME), Some(hashes.clone()));
        assert_eq!(replay(&open, later), None, "after another boot, what the disk never got may be missing");
        assert_eq!(replay(&written(&hashes, NAME, true), later), Some(hashes.clone()), "a clean end");
        let synced = Name { synced: true, ..NAME };
        assert_eq!(replay(&written(&hashes, synced, false), later), Some(hashes));
        assert_eq!(replay(&open, Name { epoch: 4, ..NAME }), None);
        assert_eq!(replay(&open, Name { hasher: 8, ..NAME }), None);
    }

    #[test]
    fn a_torn_end_is_dropped_and_damage_is_not_believed() {
        let bytes = written(&[1, 2, 3], NAME, false);
        assert_eq!(replay(&bytes[..bytes.len() - 5], NAME), Some(vec![1, 2]));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(replay(&damaged, NAME), None, "byte {at}");
        }
    }

    #[test]
    fn a_journal_goes_on_where_it_ended() {
        let scratch = testkit::Scratch::new().unwrap();
        let path = scratch.path().join("journal");
        let mut journal = Journal::create(&path, NAME).unwrap();
        journal.append(&[1, 2]).unwrap();
        journal.close().unwrap();
        let later = Name { boot: 6, ..NAME };
        let (mut journal, hashes) = Journal::open(&path, later).unwrap().unwrap();
        assert_eq!(hashes, [1, 2]);
        journal.append(&[3]).unwrap();
        drop(journal);
        let (_, hashes) = Journal::open(&path, later).unwrap().unwrap();
        assert_eq!(hashes, [1, 2, 3]);
    }
}
