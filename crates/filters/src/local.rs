//! A filter in the memory of the one process that writes the rows.

mod epoch;
mod files;
mod journal;
mod unsettled;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use backends::{Error, ErrorKind, Result};
use clock::{Clock, PreciseClock};
use tokio::task::spawn_blocking;

use self::{
    epoch::{Epoch, View},
    files::{Files, failed},
    journal::Journal,
    unsettled::Registry,
};
use crate::{Announced, Answer, Capability, Kind, Membership, Plan, Rebuilt, Scan, State, Xxh3, fingerprint};

const BACKEND: &str = "memory";

/// A filter in memory, for a database that this process alone writes to.
///
/// Clones share it. Until the first [`rebuild`](Membership::rebuild), all answers are `Maybe`. Readers never wait: they
/// ask whichever filter serves, and a rebuild puts the next in its place.
///
/// With [`folder`](LocalBuilder::folder) it outlives the process: the filter is stored when it begins to serve, and the
/// keys announced later go to a journal before `announce` returns. A process that is killed loses none of them. What is
/// damaged, or may lack keys, is not believed: all answers are `Maybe` until the next rebuild.
#[derive(Clone)]
pub struct Local(Arc<Inner>);

struct Inner {
    kind: Kind,
    late: Option<u64>,
    hasher: u64,
    view: ArcSwap<View>,
    registry: Arc<Registry>,
    rebuilding: AtomicBool,
    closed: AtomicBool,
    files: Option<Files>,
    /// How much the disk has, as [`files::Journals::added`] counts.
    synced: Option<tokio::sync::Mutex<u64>>,
}

/// Sets up a [`Local`].
#[derive(Debug)]
pub struct LocalBuilder {
    kind: Kind,
    late: Option<u64>,
    hasher: u64,
    doubt: Duration,
    unsettled: usize,
    folder: Option<PathBuf>,
    synced: bool,
    clock: Option<Box<dyn Clock>>,
}

impl Default for LocalBuilder {
    fn default() -> Self {
        Self {
            kind: Kind::Bloom,
            late: None,
            hasher: fingerprint(&Xxh3::default()),
            doubt: Duration::from_secs(600),
            unsettled: 1 << 20,
            folder: None,
            synced: false,
            clock: None,
        }
    }
}

impl LocalBuilder {
    /// Builds filters of `kind`; [`Kind::Bloom`] unless said otherwise.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// How many keys may be added to a static filter between two rebuilds; a tenth of those it was planned for unless
    /// said otherwise. They are in a Bloom filter beside it.
    #[must_use]
    pub fn late_keys(self, keys: u64) -> Self {
        Self { late: Some(keys), ..self }
    }

    /// Names the hasher that makes the hashes, by its [`fingerprint`](crate::fingerprint): a stored filter of
    /// another is not believed. That of [`Xxh3`] without a seed unless said otherwise.
    #[must_use]
    pub fn hasher(self, fingerprint: u64) -> Self {
        Self { hasher: fingerprint, ..self }
    }

    /// For how long a write that nobody settled may still happen; 10 minutes unless said otherwise. As long as the
    /// database may take to do what it has not answered.
    #[must_use]
    pub fn in_doubt(self, time: Duration) -> Self {
        Self { doubt: time, ..self }
    }

    /// The keys of how many unsettled writes are kept, at 8 bytes each; 2^20 unless said otherwise. One more is refused.
    #[must_use]
    pub fn unsettled(self, most: usize) -> Self {
        Self { unsettled: most, ..self }
    }

    /// Keeps the filter in `folder`, which no other process may use.
    #[must_use]
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..self }
    }

    /// Waits, before a write is announced, until the disk has it: the filter is believed after a loss of power, too.
    /// Writers that come together wait together.
    #[must_use]
    pub fn synced(self) -> Self {
        Self { synced: true, ..self }
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Some(Box::new(clock)), ..self }
    }

    /// The filter; with a folder, as an earlier process left it. Reads files, and may block for that long.
    ///
    /// # Errors
    ///
    /// `Config` for no late keys; `Conflict` when another process has the folder; `Unavailable` for what the file system
    /// reports. A stored filter that cannot be believed is no error.
    pub fn build(self) -> Result<Local> {
        if self.late == Some(0) {
            return Err(Error::new(ErrorKind::Config, BACKEND, "build", "room for one late key at least"));
        }
        let clock = self.clock.unwrap_or_else(|| Box::new(PreciseClock::new()));
        let registry = Registry::new(clock, self.doubt, self.unsettled);
        let mut view = View::default();
        let files = match self.folder {
            None => None,
            Some(folder) => {
                let (files, found) = Files::open(&folder, self.hasher, self.synced)?;
                if let Some(found) = found {
                    let late = self.late.unwrap_or_else(|| late(crate::Filter::planned(&found.filter)));
                    let epoch = Epoch::restore(found.epoch, found.filter, late)?;
                    for hash in &found.later {
                        epoch.insert(*hash);
                    }
                    // The database may still do what the last process asked for.
                    registry.inherit(found.later);
                    view.serving = Some(Arc::new(epoch));
                }
                Some(files)
            }
        };
        Ok(Local(Arc::new(Inner {
            kind: self.kind,
            late: self.late,
            hasher: self.hasher,
            view: ArcSwap::from_pointee(view),
            registry: Arc::new(registry),
            rebuilding: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            synced: (self.synced && files.is_some()).then(Default::default),
            files,
        })))
    }
}

/// How many keys may be added to a static filter for `planned`, unless someone says so.
const fn late(planned: u64) -> u64 {
    if planned < 10 { 1 } else { planned / 10 }
}

impl Local {
    /// Sets up a filter.
    #[must_use]
    pub fn builder() -> LocalBuilder {
        LocalBuilder::default()
    }

    /// Whether the database may have a row with the key of `hash`.
    #[inline]
    #[must_use]
    pub fn answer(&self, hash: u64) -> Answer {
        Answer::may_be(self.0.view.load().serving.as_ref().is_none_or(|epoch| epoch.contains(hash)))
    }

    fn open(&self, op: &'static str) -> Result<()> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(closed(op));
        }
        Ok(())
    }
}

impl Inner {
    /// Adds keys to the filter that serves and to the one that is being built, and to their journals; tells how much was
    /// added in all.
    fn add(&self, hashes: &[u64]) -> Result<u64> {
        self.write(|view, journals| {
            let [serving, next] =
                journals.map_or([None, None], |[serving, next]| [Some(serving), Some(next)]);
            add(view.serving.as_ref(), serving, hashes)?;
            add(view.next.as_ref(), next, hashes)
        })
    }

    /// Adds keys to the filter that is being built alone: the one that serves has them.
    fn carry(&self, hashes: &[u64]) -> Result<u64> {
        self.write(|view, journals| add(view.next.as_ref(), journals.map(|[_, next]| next), hashes))
    }

    fn write(
        &self,
        add: impl FnOnce(&View, Option<[&mut Option<Journal>; 2]>) -> Result<(), Failed>,
    ) -> Result<u64> {
        let Some(files) = &self.files else {
            // Nothing can fail in memory.
            return add(&self.view.load(), None).map(|()| 0).map_err(|_| closed("announce"));
        };
        // Under one lock: who finds a key in the filter must find it in the journal, too.
        let mut journals = files.journals.lock();
        let open = &mut *journals;
        add(&self.view.load(), Some([&mut open.serving, &mut open.next])).map_err(
            |failure| match failure {
                Failed::Closed => closed("announce"),
                Failed::Io(error) => failed("announce", files.folder(), error),
            },
        )?;
        journals.added += 1;
        Ok(journals.added)
    }

    /// Waits until the disk has what was added, up to `added`.
    async fn wait_for_disk(&self, added: u64) -> Result<()> {
        let (Some(synced), Some(files)) = (&self.synced, &self.files) else { return Ok(()) };
        let mut synced = synced.lock().await;
        if *synced >= added {
            // Who had the lock before waited for all of us.
            return Ok(());
        }
        let (added, handles) = {
            let journals = files.journals.lock();
            let open = [&journals.serving, &journals.next].into_iter().flatten();
            (journals.added, open.map(Journal::handle).collect::<io::Result<Vec<_>>>())
        };
        let done = match handles {
            Ok(handles) => {
                blocking("announce", move || handles.iter().try_for_each(std::fs::File::sync_data)).await?
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => *synced = added,
            Err(error) => {
                // The system tells of a failed write once, and drops what it could not write.
                files.journals.lock().give_up();
                return Err(failed("announce", files.folder(), error));
            }
        }
        Ok(())
    }

    fn show(&self, serving: Option<Arc<Epoch>>, next: Option<Arc<Epoch>>) {
        self.view.store(Arc::new(View { serving, next }));
    }
}

fn closed(op: &'static str) -> Error {
    Error::new(ErrorKind::Closed, BACKEND, op, "the filter was closed")
}

/// Why keys were not added.
enum Failed {
    Closed,
    Io(io::Error),
}

/// Adds keys to a filter, and those that are new in it to its journal, where journals are kept.
fn add(
    epoch: Option<&Arc<Epoch>>,
    journal: Option<&mut Option<Journal>>,
    hashes: &[u64],
) -> Result<(), Failed> {
    let Some(epoch) = epoch else { return Ok(()) };
    let Some(journal) = journal else {
        for hash in hashes {
            epoch.insert(*hash);
        }
        return Ok(());
    };
    let Some(journal) = journal.as_mut() else { return Err(Failed::Closed) };
    let new: Vec<u64> = hashes.iter().copied().filter(|hash| epoch.insert(*hash)).collect();
    journal.append(&new).map_err(Failed::Io)
}

async fn blocking<T: Send + 'static>(
    op: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Closed, BACKEND, op, "the runtime has ended").with_source(error)
    })
}

impl Membership for Local {
    fn capability(&self) -> Capability {
        Capability::new(BACKEND).durable(self.0.files.is_some())
    }

    #[inline]
    fn look(&self, hash: u64) -> Option<Answer> {
        Some(self.answer(hash))
    }

    async fn check(&self, hashes: &[u64]) -> Result<Vec<Answer>> {
        self.open("check")?;
        let view = self.0.view.load();
        let Some(epoch) = &view.serving else { return Ok(vec![Answer::Maybe; hashes.len()]) };
        let mut found = Vec::with_capacity(hashes.len());
        epoch.contains_many(hashes, &mut found);
        Ok(found.into_iter().map(Answer::may_be).collect())
    }

    async fn announce(&self, hashes: &[u64]) -> Result<Announced> {
        self.open("announce")?;
        // First: a rebuild that begins now either finds the keys there, or is seen below.
        let entered = self.0.registry.enter(hashes)?;
        let added = self.0.add(hashes)?;
        self.0.wait_for_disk(added).await?;
        Ok(Announced::new(Box::new(entered)))
    }

    async fn state(&self) -> Result<State> {
        self.open("state")?;
        let view = self.0.view.load();
        let mut state = State::none();
        if let Some(epoch) = &view.serving {
            state.epoch = epoch.number;
            state.len = epoch.len();
            state.planned = epoch.planned();
            state.size_bytes = epoch.size_bytes();
            state.expected_rate = epoch.expected_rate();
        }
        state.rebuilding = view.next.is_some();
        state.unsettled = self.0.registry.len() as u64;
        Ok(state)
    }

    async fn rebuild(&self, plan: Plan, scan: &mut dyn Scan) -> Result<Rebuilt> {
        self.open("rebuild")?;
        let build = Build::begin(&self.0, plan)?;
        // Written down before anyone reads the database: whoever announces from now on adds to the next one himself.
        let carried = self.0.registry.keys();
        self.0.carry(&carried)?;
        // A static kind is built of all keys at once.
        let mut kept = self.0.kind.is_static().then(Vec::new);
        let (mut hashes, mut scanned) = (Vec::new(), 0);
        while scan.next(&mut hashes).await? {
            scanned += hashes.len() as u64;
            match &mut kept {
                Some(kept) => kept.append(&mut hashes),
                None => {
                    for hash in hashes.drain(..) {
                        build.next.insert(hash);
                    }
                }
            }
        }
        let epoch = build.next.number;
        build.finish(kept, plan).await?;
        Ok(Rebuilt::new(epoch, scanned, carried.len() as u64))
    }

    async fn close(&self) -> Result<()> {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.0.files.as_ref().map_or(Ok(()), Files::close)
    }
}

/// A rebuild that is under way; dropped, the old filter serves on.
struct Build {
    inner: Arc<Inner>,
    next: Arc<Epoch>,
    done: bool,
}

impl Build {
    fn begin(inner: &Arc<Inner>, plan: Plan) -> Result<Self> {
        if inner.rebuilding.swap(true, Ordering::AcqRel) {
            return Err(Error::new(ErrorKind::Conflict, BACKEND, "rebuild", "another rebuild runs"));
        }
        let serving = inner.view.load().serving.clone();
        let last = serving.as_ref().map_or(0, |epoch| epoch.number);
        let last = inner.files.as_ref().map_or(last, |files| files.last_epoch().max(last));
        let late = inner.late.unwrap_or(late(plan.items()));
        let next = Epoch::new(last + 1, inner.kind, plan, late)
            .and_then(|next| {
                inner.files.as_ref().map_or(Ok(()), |files| files.begin(next.number)).map(|()| next)
            })
            .inspect_err(|_| inner.rebuilding.store(false, Ordering::Release))?;
        let next = Arc::new(next);
        inner.show(serving, Some(Arc::clone(&next)));
        Ok(Self { inner: Arc::clone(inner), next, done: false })
    }

    /// Lets the next filter serve.
    async fn finish(self, kept: Option<Vec<u64>>, plan: Plan) -> Result<()> {
        // In a task that ends in any case: between the commit and the swap nobody may stop.
        blocking("rebuild", move || {
            let mut build = self;
            let Inner { kind, hasher, .. } = *build.inner;
            if let Some(hashes) = kept {
                build.next.build(kind, plan, &hashes)?;
            }
            let (inner, number) = (Arc::clone(&build.inner), build.next.number);
            let next = Some(Arc::clone(&build.next));
            if let Some(files) = &inner.files {
                files.commit(number, &build.next.encode(hasher))?;
                // Together, as writers see them.
                let mut journals = files.journals.lock();
                journals.serving = journals.next.take();
                inner.show(next, None);
            } else {
                inner.show(next, None);
            }
            build.done = true;
            if let Some(files) = &inner.files {
                files.sweep(number);
            }
            Ok(())
        })
        .await?
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if !self.done {
            let serving = self.inner.view.load().serving.clone();
            self.inner.show(serving, None);
            if let Some(files) = &self.inner.files {
                files.abandon(self.next.number);
            }
        }
        self.inner.rebuilding.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("kind", &self.0.kind)
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}
