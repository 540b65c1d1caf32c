//! A cluster: which node serves which slot, and what to do when another does by now.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
    time::Duration,
};

use redis::{Cmd, Pipeline, ServerError, ServerErrorKind, Value, cmd};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    connection::settle,
    endpoint::{Address, Settings},
    error::Failure,
    node::Node,
    route::{Route, SLOTS, route},
    topology::{self, Range},
};
use crate::{ErrorKind, Result, Retry};

/// How often in a row a request follows a slot that moved.
const REDIRECTS: usize = 5;
/// The pause after `TRYAGAIN`, which doubles; no longer than it takes to move a few keys.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);
/// Between two looks at the cluster.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// A slot that no node serves.
const NOBODY: u16 = u16::MAX;

pub(super) struct Cluster {
    pub(super) settings: Arc<Settings>,
    seeds: Vec<Address>,
    map: RwLock<Map>,
    refresh: Mutex<Refresh>,
}

struct Map {
    /// By slot, the place of its master in `nodes`.
    slots: Vec<u16>,
    /// Masters first.
    nodes: Vec<Arc<Node>>,
    masters: usize,
    /// Where the next command without a key goes.
    turn: usize,
}

#[derive(Default)]
struct Refresh {
    running: bool,
    last: Option<Instant>,
}

/// What a node says to a command that it did not carry out.
pub(super) enum Refusal {
    /// The slot is another node's.
    Moved(Option<Address>),
    /// The key is at another node, which has to be told `ASKING`.
    Ask(Option<Address>),
    /// The keys are partly here and partly there.
    TryAgain,
    /// The cluster changes; what it looks like then is to be found out.
    Other,
}

/// Where a refused command goes next.
pub(super) struct Course {
    redirects: usize,
    pause: Duration,
}

impl Cluster {
    pub(super) async fn connect(seeds: Vec<Address>, settings: Settings) -> Result<Arc<Self>, Failure> {
        let settings = Arc::new(settings);
        let nodes: Vec<_> =
            seeds.iter().map(|address| Node::new(address.clone(), Arc::clone(&settings))).collect();
        let deadline = Instant::now() + settings.connect_timeout;
        let ranges = ask(nodes.clone(), deadline).await?;
        let empty = Map { slots: vec![NOBODY; SLOTS.into()], nodes, masters: 0, turn: 0 };
        let cluster = Arc::new(Self { settings, seeds, map: RwLock::new(empty), refresh: Mutex::default() });
        cluster.adopt(&ranges);
        Ok(cluster)
    }

    /// The node that serves the slot, as far as is known.
    pub(super) fn owner(self: &Arc<Self>, slot: u16) -> Result<Arc<Node>, Failure> {
        let map = self.map();
        if let Some(node) = map.nodes.get(usize::from(map.slots[usize::from(slot)])) {
            return Ok(Arc::clone(node));
        }
        drop(map);
        self.refresh_soon();
        Err(Failure::down(format!("no node is known to serve slot {slot}")))
    }

    /// Groups what belongs together: the places in `routes`, by the nodes they go to.
    pub(super) fn group(self: &Arc<Self>, routes: impl Iterator<Item = Route>) -> Groups {
        let map = self.map();
        let mut groups = Groups { parts: Vec::new(), homeless: Vec::new() };
        let mut part_of = vec![usize::MAX; map.nodes.len()];
        for (index, route) in routes.enumerate() {
            let node = match route {
                Route::Slot(slot) => usize::from(map.slots[usize::from(slot)]),
                Route::Any | Route::Masters => 0,
            };
            let (Some(part), Some(home)) = (part_of.get_mut(node), map.nodes.get(node)) else {
                groups.homeless.push(index);
                continue;
            };
            if *part == usize::MAX {
                *part = groups.parts.len();
                groups.parts.push((Arc::clone(home), Vec::new()));
            }
            groups.parts[*part].1.push((index, false));
        }
        drop(map);
        if !groups.homeless.is_empty() {
            self.refresh_soon();
        }
        groups
    }

    pub(super) async fn command(self: &Arc<Self>, command: &Cmd) -> Result<Value, Failure> {
        let deadline = Instant::now() + self.settings.request_timeout;
        match route(command) {
            Route::Slot(slot) => {
                let exchange = |node: Arc<Node>, asking| async move {
                    node.command(command, asking, deadline).await.map(|value| (value, ()))
                };
                self.follow(slot, deadline, exchange).await.map(|(value, ())| value)
            }
            Route::Masters => self.masters(command, deadline).await,
            Route::Any => self.any().command(command, false, deadline).await,
        }
    }

    /// Runs `exchange` with the node that serves the slot, and again with the one that a refusal names.
    ///
    /// Cancel safe where `exchange` is.
    pub(super) async fn follow<T, F>(
        self: &Arc<Self>,
        slot: u16,
        deadline: Instant,
        mut exchange: impl FnMut(Arc<Node>, bool) -> F,
    ) -> Result<(Value, T), Failure>
    where
        F: Future<Output = Result<(Value, T), Failure>>,
    {
        let (mut node, mut asking) = (self.owner(slot)?, false);
        let mut course = Course::new();
        loop {
            let answer = exchange(Arc::clone(&node), asking).await.inspect_err(|_| self.refresh_soon())?;
            let Some(refusal) = refusal(&answer.0) else { return Ok(answer) };
            let goes_on = course.goes_on(&refusal, deadline).await;
            match self.target(refusal, slot, &node, asking) {
                Some(next) if goes_on => (node, asking) = next,
                _ => return Ok(answer),
            }
        }
    }

    /// Where a command that `node` refused, after `ASKING` or without, goes next; `None` if nowhere.
    pub(super) fn target(
        self: &Arc<Self>,
        refusal: Refusal,
        slot: u16,
        node: &Arc<Node>,
        asking: bool,
    ) -> Option<(Arc<Node>, bool)> {
        match refusal {
            Refusal::Moved(Some(to)) => Some((self.moved(slot, to.or_host(node)), false)),
            Refusal::Ask(Some(to)) => Some((self.node(to.or_host(node)), true)),
            // The rest of the keys is on its way to or from this node; new keys can be made here alone.
            Refusal::TryAgain => Some((Arc::clone(node), asking)),
            Refusal::Moved(None) | Refusal::Ask(None) | Refusal::Other => {
                self.refresh_soon();
                None
            }
        }
    }

    /// A pipeline, whose commands belong to one slot. It is followed to another node only as a whole:
    /// when all of it was refused.
    pub(super) async fn pipeline(
        self: &Arc<Self>,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> Result<Vec<Value>, Failure> {
        let deadline = Instant::now() + self.settings.request_timeout;
        let mut slots = pipeline.cmd_iter().filter_map(|command| match route(command) {
            Route::Slot(slot) => Some(slot),
            Route::Masters | Route::Any => None,
        });
        let Some(slot) = slots.next() else {
            return settle(self.any().pipeline(pipeline, offset, count, deadline).await?, offset);
        };
        if slots.any(|other| other != slot) {
            let text = "the keys of the pipeline are in different slots";
            return Err(Failure::new(ErrorKind::Invalid, Retry::Never, text));
        }
        let mut node = self.owner(slot)?;
        let mut course = Course::new();
        loop {
            let answers = node.pipeline(pipeline, offset, count, deadline).await;
            let answers = answers.inspect_err(|_| self.refresh_soon())?;
            let refused = |value: &Value| matches!(refusal(value), Some(Refusal::Moved(_)));
            let nothing_happened =
                if pipeline.is_transaction() { is_aborted(&answers) } else { answers.iter().all(refused) };
            let moved = answers.iter().find(|value| refused(value)).and_then(refusal);
            let next = match moved {
                Some(moved) if nothing_happened && course.goes_on(&moved, deadline).await => {
                    self.target(moved, slot, &node, false)
                }
                _ => None,
            };
            match next {
                Some((next, _)) => node = next,
                None => return settle(answers, offset),
            }
        }
    }

    /// Asks all masters at once. The answer is the last one, unless one of them failed. A script that
    /// some have learnt is good for those.
    async fn masters(self: &Arc<Self>, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let masters: Vec<_> = {
            let map = self.map();
            map.nodes[..map.masters].to_vec()
        };
        let must_all = command.args_iter().next().is_some_and(|name| match name {
            redis::Arg::Simple(name) => name.eq_ignore_ascii_case(b"PING"),
            _ => false,
        });
        let mut asked = JoinSet::new();
        for node in masters {
            let command = command.clone();
            asked.spawn(async move { node.command(&command, false, deadline).await });
        }
        let (mut answer, mut failure) = (None, None);
        while let Some(result) = asked.join_next().await {
            match result.unwrap_or_else(|_| Err(Failure::broken())) {
                Ok(Value::ServerError(error)) if must_all || answer.is_none() => {
                    answer = Some(Value::ServerError(error));
                }
                Ok(value) if !matches!(answer, Some(Value::ServerError(_))) || !must_all => {
                    answer = Some(value);
                }
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        if failure.is_some() {
            self.refresh_soon();
        }
        match (answer, failure) {
            (_, Some(failure)) if must_all => Err(failure),
            (Some(answer), _) => Ok(answer),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::down("the cluster has no master")),
        }
    }

    /// One master after the other, those that are there first.
    fn any(&self) -> Arc<Node> {
        let mut map = self.map_mut();
        let masters = map.masters.max(1);
        map.turn = (map.turn + 1) % masters;
        let turns = (map.turn..masters).chain(0..map.turn);
        let up = turns.clone().find(|&turn| matches!(map.nodes[turn].ready(), Ok(Some(_))));
        Arc::clone(&map.nodes[up.unwrap_or(map.turn)])
    }

    /// The node at that address, which may be new.
    pub(super) fn node(&self, address: Address) -> Arc<Node> {
        let known = self.map().nodes.iter().find(|node| node.address == address).cloned();
        known.unwrap_or_else(|| {
            let node = Node::new(address, Arc::clone(&self.settings));
            self.map_mut().nodes.push(Arc::clone(&node));
            node
        })
    }

    /// Notes who serves the slot now.
    fn moved(self: &Arc<Self>, slot: u16, to: Address) -> Arc<Node> {
        let node = self.node(to);
        let mut map = self.map_mut();
        if let Some(place) = map.nodes.iter().position(|known| known.address == node.address) {
            map.slots[usize::from(slot)] = u16::try_from(place).unwrap_or(NOBODY);
        }
        drop(map);
        self.refresh_soon();
        node
    }

    /// Looks at the cluster again, in the background, unless that is being done.
    pub(super) fn refresh_soon(self: &Arc<Self>) {
        let mut refresh = self.refresh();
        if !refresh.running {
            refresh.running = true;
            let due = refresh.last.map(|last| last + REFRESH_PAUSE);
            tokio::spawn(look_again(Arc::downgrade(self), due));
        }
    }

    fn adopt(&self, ranges: &[Range]) {
        let mut map = self.map_mut();
        let mut known: HashMap<Address, Arc<Node>> =
            map.nodes.drain(..).map(|node| (node.address.clone(), node)).collect();
        let mut places = HashMap::new();
        let (mut slots, mut nodes, mut masters) = (vec![NOBODY; SLOTS.into()], Vec::new(), 0);
        let mut place_of = |address: &Address| {
            *places.entry(address.clone()).or_insert_with(|| {
                // A node that stays keeps its connections.
                let node = known.remove(address);
                nodes.push(node.unwrap_or_else(|| Node::new(address.clone(), Arc::clone(&self.settings))));
                nodes.len() - 1
            })
        };
        for range in ranges {
            let place = place_of(&range.master);
            masters = masters.max(place + 1);
            slots[usize::from(range.first)..=usize::from(range.last)]
                .fill(u16::try_from(place).unwrap_or(NOBODY));
        }
        for replica in ranges.iter().flat_map(|range| &range.replicas) {
            place_of(replica);
        }
        *map = Map { slots, nodes, masters, turn: map.turn };
    }

    /// Whom to ask about the cluster: those with a connection, or else everybody.
    fn informants(&self, only_ready: bool) -> Vec<Arc<Node>> {
        let map = self.map();
        if only_ready {
            let ready = map.nodes.iter().filter(|node| node.is_up());
            return ready.cloned().collect();
        }
        let is_new = |seed: &&Address| map.nodes.iter().all(|node| node.address != **seed);
        let seeds = self.seeds.iter().filter(is_new);
        let seeds = seeds.map(|address| Node::new(address.clone(), Arc::clone(&self.settings)));
        map.nodes.iter().cloned().chain(seeds).collect()
    }

    fn map(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn map_mut(&self) -> RwLockWriteGuard<'_, Map> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some commands by their place among all, each with whether it goes after `ASKING`, and their node.
pub(super) type Part = (Arc<Node>, Vec<(usize, bool)>);

/// Commands by the nodes that they go to.
pub(super) struct Groups {
    pub(super) parts: Vec<Part>,
    /// Of slots that nobody serves.
    pub(super) homeless: Vec<usize>,
}

impl Course {
    pub(super) fn new() -> Self {
        Self { redirects: 0, pause: FIRST_PAUSE }
    }

    /// Whether another node is tried, after a pause where there is hope in that.
    pub(super) async fn goes_on(&mut self, refusal: &Refusal, deadline: Instant) -> bool {
        // Who is told to wait was at the right place; the slot may move on in the meantime.
        let waits = matches!(refusal, Refusal::TryAgain);
        self.redirects = if waits { 0 } else { self.redirects + 1 };
        // Two nodes that send it to each other are about to agree.
        let rests = waits || self.redirects > 2;
        let pause = if rests { self.pause } else { Duration::ZERO };
        // What is sent too late would only become ambiguous.
        if self.redirects > REDIRECTS || Instant::now() + pause >= deadline {
            return false;
        }
        if rests {
            sleep(pause).await;
            self.pause = (pause * 2).min(LONGEST_PAUSE);
        }
        true
    }
}

impl Address {
    /// A node that does not know its own name stands for the one that was asked.
    fn or_host(self, asked: &Node) -> Self {
        if self.host.is_empty() {
            Self { host: Arc::clone(&asked.address.host), port: self.port }
        } else {
            self
        }
    }
}

/// Whether the answer says that the command was not carried out because the cluster changes.
pub(super) fn refusal(answer: &Value) -> Option<Refusal> {
    let Value::ServerError(error) = answer else { return None };
    match error.kind()? {
        ServerErrorKind::Moved => Some(Refusal::Moved(redirect(error))),
        ServerErrorKind::Ask => Some(Refusal::Ask(redirect(error))),
        ServerErrorKind::TryAgain => Some(Refusal::TryAgain),
        ServerErrorKind::ClusterDown | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown => {
            Some(Refusal::Other)
        }
        _ => None,
    }
}

/// The address in `3999 127.0.0.1:6381`.
fn redirect(error: &ServerError) -> Option<Address> {
    let (host, port) = error.details()?.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    Some(Address { host: host.into(), port: port.parse().ok()? })
}

/// Whether the last answer is that of a transaction of which nothing was carried out.
fn is_aborted(answers: &[Value]) -> bool {
    let last = answers.last();
    matches!(last, Some(Value::ServerError(error)) if error.kind() == Some(ServerErrorKind::ExecAbort))
}

async fn look_again(cluster: Weak<Cluster>, due: Option<Instant>) {
    /// Lets the next one begin, also when the runtime drops this task.
    struct Running(Weak<Cluster>);
    impl Drop for Running {
        fn drop(&mut self) {
            if let Some(cluster) = self.0.upgrade() {
                *cluster.refresh() = Refresh { running: false, last: Some(Instant::now()) };
            }
        }
    }
    let running = Running(cluster);
    if let Some(due) = due {
        sleep_until(due).await;
    }
    for only_ready in [true, false] {
        let Some(cluster) = running.0.upgrade() else { return };
        let (nodes, timeout) = (cluster.informants(only_ready), cluster.settings.request_timeout);
        drop(cluster);
        if let Ok(ranges) = ask(nodes, Instant::now() + timeout).await {
            if let Some(cluster) = running.0.upgrade() {
                cluster.adopt(&ranges);
            }
            return;
        }
    }
}

/// What the first of them to answer says about the cluster, or the most telling failure.
async fn ask(nodes: Vec<Arc<Node>>, deadline: Instant) -> Result<Vec<Range>, Failure> {
    let mut asked = JoinSet::new();
    for node in nodes {
        asked.spawn(async move {
            let mut slots = cmd("CLUSTER");
            slots.arg("SLOTS");
            match node.command(&slots, false, deadline).await? {
                Value::ServerError(error) => Err(match Failure::answer(&error.into()) {
                    failure if failure.kind() == ErrorKind::Invalid => {
                        Failure::new(ErrorKind::Config, Retry::Never, "the server is not part of a cluster")
                    }
                    failure => failure,
                }),
                answer => topology::parse(&answer, &node.address),
            }
        });
    }
    let mut told: Option<Failure> = None;
    while let Some(result) = asked.join_next().await {
        match result.unwrap_or_else(|_| Err(Failure::broken())) {
            Ok(ranges) => return Ok(ranges),
            Err(failure) => {
                // A wrong password says more than a node that is down.
                if told.as_ref().is_none_or(|told| told.retry() != Retry::Never) {
                    told = Some(failure);
                }
            }
        }
    }
    Err(told.unwrap_or_else(|| Failure::down("no node of the cluster is known")))
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}
