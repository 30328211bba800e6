//! A worker: one thread that answers requests.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use tidegate_types::{InstanceId, Protocol, RevisionId, Scope, Sticky};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, oneshot, watch},
    task::{AbortHandle, JoinHandle, LocalSet, spawn_local},
};

use crate::{
    access_log::Sink,
    backend::{Backend, Destination},
    budget::Budget,
    clock,
    connection::{self, Activity, Arrival},
    door::{Doors, Opened, Purpose},
    endpoint::{Endpoint, LocalRoute, LocalTable},
    limits::Limits,
    live::{LiveBackend, LiveEndpoint, LiveTable, LiveUpstream},
    mirror::Mirror,
    pick::Random,
    plain::Buffers,
    upgraded::{End, UpgradedConnections, farewell},
    visitor::{Key, Shared, Visitors},
};

/// What the control thread tells a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Follow this table from now on, and listen here too.
    Table { scope: Scope, table: Arc<LiveTable>, opened: Opened, done: oneshot::Sender<()> },
    /// Forget a scope.
    Remove { scope: Scope, done: oneshot::Sender<()> },
    /// Stop listening, end when nothing is in flight.
    Drain { why: Why, done: oneshot::Sender<()> },
    /// Another worker has more to do: take this connection.
    Connection { scope: Scope, arrival: Arrival<std::net::TcpStream> },
}

/// Why a worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The proxy was told to.
    Told,
    /// Another proxy serves in its place already.
    Succeeded,
}

/// The control thread's end of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    connections: Arc<AtomicUsize>,
    /// It takes new connections, and may give one to another worker.
    accepts: Arc<AtomicBool>,
}

impl Handle {
    /// Tells the worker something.
    pub(crate) fn send(&self, command: Command) {
        // A worker that has ended cannot be told anything; who waits for its answer notices.
        let _ = self.commands.send(command);
    }
}

/// The running workers.
#[derive(Debug)]
pub(crate) struct Threads {
    handles: Vec<Handle>,
    joins: Vec<std::thread::JoinHandle<()>>,
    ended: Arc<Notify>,
}

impl Threads {
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.handles.clone()
    }

    /// Returns when one of them has ended.
    pub(crate) async fn any_ended(&self) {
        self.ended.notified().await;
    }

    /// Returns when all of them have ended.
    pub(crate) async fn all_ended(&self) {
        for handle in &self.handles {
            handle.commands.closed().await;
        }
    }

    /// Ends them, unless they have ended, and says whether one panicked.
    pub(crate) fn join(self) -> Result<(), ()> {
        // A worker also holds the others' ends of the channels, hence the last word.
        for handle in &self.handles {
            let (done, _) = oneshot::channel();
            handle.send(Command::Drain { why: Why::Told, done });
        }
        let mut outcome = Ok(());
        for join in self.joins {
            if join.join().is_err() {
                outcome = Err(());
            }
        }
        outcome
    }
}

/// Starts workers.
pub(crate) fn start(count: usize, limits: &Limits, visitors: Key) -> std::io::Result<Threads> {
    let ended = Arc::new(Notify::new());
    let (handles, receivers): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (commands, receiver) = mpsc::unbounded_channel();
            let accepts = Arc::new(AtomicBool::new(true));
            (Handle { commands, connections: Arc::default(), accepts }, receiver)
        })
        .unzip();
    let mut threads = Threads { handles, joins: Vec::new(), ended };
    for (index, receiver) in receivers.into_iter().enumerate() {
        let handles = threads.handles();
        let accepts = Arc::clone(&threads.handles[index].accepts);
        let ended = EndNotice { ended: Arc::clone(&threads.ended), accepts };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let limits = *limits;
        let join =
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let _ended = ended;
                let worker = Rc::new(Worker::new(index, &limits, visitors, handles));
                LocalSet::new().block_on(&runtime, worker.run(receiver));
            })?;
        threads.joins.push(join);
    }
    Ok(threads)
}

/// Says that a worker ended, also when it panicked.
struct EndNotice {
    ended: Arc<Notify>,
    accepts: Arc<AtomicBool>,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        self.accepts.store(false, Release);
        self.ended.notify_one();
    }
}

/// A scope as one worker knows it.
#[derive(Debug)]
pub(crate) struct ScopeState {
    scope: Scope,
    table: RefCell<Rc<LocalTable>>,
    accepting: Doors<RefCell<Option<JoinHandle<()>>>>,
    removed: Cell<bool>,
}

impl ScopeState {
    /// The table in force.
    pub(crate) fn table(&self) -> Rc<LocalTable> {
        Rc::clone(&self.table.borrow())
    }

    /// Those of the table in force.
    pub(crate) fn limits(&self) -> Rc<Limits> {
        Rc::clone(&self.table.borrow().limits)
    }

    /// Follows this table from now on. What it does not name any more has left.
    fn follow(&self, table: Rc<LocalTable>) {
        let now = Instant::now();
        self.table.borrow().endpoints().for_each(|endpoint| endpoint.leave(now));
        table.endpoints().for_each(|endpoint| endpoint.stay());
        self.table.replace(table);
    }

    /// Stops accepting; what is returned ends when the listener is closed.
    fn stop_accepting(&self, purpose: Purpose) -> Option<JoinHandle<()>> {
        let accepting = self.accepting.of(purpose).take();
        if let Some(task) = &accepting {
            task.abort();
        }
        accepting
    }

    /// Stops accepting at all doors.
    fn close(&self) -> impl Iterator<Item = JoinHandle<()>> {
        [Purpose::Serve, Purpose::Redirect]
            .into_iter()
            .filter_map(|purpose| self.stop_accepting(purpose))
    }
}

/// Says `done` when these listeners are closed.
fn when_closed(tasks: Vec<JoinHandle<()>>, done: oneshot::Sender<()>) {
    spawn_local(async move {
        for task in tasks {
            // It was cancelled: that is how it ends.
            let _ = task.await;
        }
        let _ = done.send(());
    });
}

/// A connection of a client.
#[derive(Debug)]
struct Open {
    activity: Arc<Activity>,
    task: AbortHandle,
}

/// The state of one worker thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) limits: Limits,
    /// By which visitors are divided.
    pub(crate) visitors: Key,
    /// Mirrored requests in flight.
    pub(crate) mirrored: Cell<usize>,
    pub(crate) random: Random,
    scopes: RefCell<HashMap<Scope, Rc<ScopeState>>>,
    /// Endpoints outlive tables, so that a change of weights costs no connection.
    endpoints: RefCell<HashMap<(InstanceId, SocketAddr, Protocol), Weak<Endpoint>>>,
    /// So do the budgets of revisions for what is sent again.
    budgets: RefCell<HashMap<(Scope, RevisionId), Rc<Budget>>>,
    open: RefCell<HashMap<u64, Open>>,
    next_connection: Cell<u64>,
    upgraded: UpgradedConnections,
    draining: watch::Sender<bool>,
    /// What is still in flight is not waited for any longer.
    cut_off: Cell<bool>,
    closing: watch::Sender<bool>,
    is_closing: Cell<bool>,
    pub(crate) buffers: Buffers,
    workers: Vec<Handle>,
}

impl Worker {
    fn new(index: usize, limits: &Limits, visitors: Key, workers: Vec<Handle>) -> Self {
        Self {
            index,
            limits: *limits,
            visitors,
            mirrored: Cell::new(0),
            random: Random::new(RandomState::new().hash_one(index)),
            scopes: RefCell::default(),
            endpoints: RefCell::default(),
            budgets: RefCell::default(),
            open: RefCell::default(),
            next_connection: Cell::new(0),
            upgraded: UpgradedConnections::default(),
            draining: watch::Sender::new(false),
            cut_off: Cell::new(false),
            closing: watch::Sender::new(false),
            is_closing: Cell::new(false),
            buffers: Buffers::default(),
            workers,
        }
    }

    /// Whether the proxy is about to end, so that connections should not be used any longer.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Whether requests end because the proxy does.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    /// Whether an answer on a connection of this scope should be its last.
    pub(crate) fn is_last_answer(&self, scope: &ScopeState) -> bool {
        scope.removed.get() || self.is_draining()
    }

    /// Whether connections are to close as soon as they are idle.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.get()
    }

    /// Becomes true when connections are to close as soon as they are idle.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Becomes true when the proxy is about to end.
    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut next = tokio::time::Instant::now() + self.sweep_interval();
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Drain { why, done }) => {
                        self.stop_accepting(done);
                        return self.drain(why, commands).await;
                    }
                    Some(command) => {
                        let is_table = matches!(command, Command::Table { .. });
                        self.follow(command);
                        if is_table {
                            // It may be in more of a hurry than those before it.
                            next = next.min(tokio::time::Instant::now() + self.sweep_interval());
                        }
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(next) => {
                    self.sweep();
                    next = tokio::time::Instant::now() + self.sweep_interval();
                }
            }
        }
    }

    /// Lets clients know that their connection ends with its next answer, then closes idle ones,
    /// then waits for the rest. With a successor there is no hurry: an idle connection is left to
    /// its client, which may be about to send.
    async fn drain(self: &Rc<Self>, mut why: Why, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut since = tokio::time::Instant::now();
        let mut next_sweep = since;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let command = tokio::select! {
                biased;
                command = commands.recv() => command,
                _ = tick.tick() => None,
            };
            let now = tokio::time::Instant::now();
            if let Some(command) = command {
                if let (Why::Succeeded, Command::Drain { why: Why::Told, .. }) = (why, &command) {
                    (why, since) = (Why::Told, now);
                }
                self.follow(command);
                continue;
            }
            // Asked first: what others gave before they stopped is in the queue by then.
            if !self.others_accept()
                && commands.is_empty()
                && self.open.borrow().is_empty()
                && self.upgraded.len() == 0
            {
                return;
            }
            let limit = match why {
                Why::Told => self.limits.drain,
                Why::Succeeded => self.limits.drain_succeeded,
            };
            if now >= since + limit {
                break;
            }
            let farewell = farewell(limit, self.limits.farewell);
            if now >= since + limit.saturating_sub(farewell) {
                self.upgraded.end(farewell);
            }
            if why == Why::Told && now >= since + self.limits.drain_grace {
                self.close_idle();
            }
            if now >= next_sweep {
                self.sweep();
                next_sweep = now + self.sweep_interval();
            }
        }
        self.cut_off.set(true);
        let left = self.open.borrow().len() + self.upgraded.len();
        tracing::warn!(connections = left, "closed before their requests had ended");
    }

    fn close_idle(&self) {
        if !self.is_closing.replace(true) {
            self.closing.send_replace(true);
            self.open.borrow().values().for_each(|open| open.activity.wake());
        }
    }

    fn stop_accepting(&self, done: oneshot::Sender<()>) {
        self.draining.send_replace(true);
        let scopes = self.scopes.borrow();
        let tasks = scopes.values().flat_map(|scope| scope.close());
        when_closed(tasks.collect(), done);
        self.workers[self.index].accepts.store(false, Release);
    }

    /// Whether a worker may still give a connection to this one.
    fn others_accept(&self) -> bool {
        self.workers.iter().any(|worker| worker.accepts.load(Acquire))
    }

    fn follow(self: &Rc<Self>, command: Command) {
        match command {
            Command::Table { scope, table, opened, done } => {
                let local = Rc::new(self.localise(&scope, &table));
                let state =
                    Rc::clone(self.scopes.borrow_mut().entry(scope.clone()).or_insert_with(|| {
                        Rc::new(ScopeState {
                            scope,
                            table: RefCell::default(),
                            accepting: Doors::default(),
                            removed: Cell::new(false),
                        })
                    }));
                state.follow(local);
                self.endpoints.borrow_mut().retain(|_, endpoint| endpoint.strong_count() > 0);
                self.budgets.borrow_mut().retain(|_, budget| Rc::strong_count(budget) > 1);
                let mut former = Vec::new();
                if table.redirect.is_none() {
                    former.extend(state.stop_accepting(Purpose::Redirect));
                }
                for (purpose, listener) in
                    [(Purpose::Serve, opened.serve), (Purpose::Redirect, opened.redirect)]
                {
                    let listener = listener.map(|listener| self.listen(&state, purpose, listener));
                    former.extend(listener.flatten());
                }
                when_closed(former, done);
            }
            Command::Remove { scope, done } => {
                let removed = self.scopes.borrow_mut().remove(&scope);
                let former = removed.map(|state| {
                    state.removed.set(true);
                    state.follow(Rc::default());
                    state.close().collect()
                });
                when_closed(former.unwrap_or_default(), done);
            }
            Command::Drain { done, .. } => drop(done.send(())),
            Command::Connection { scope, arrival: Arrival { stream, peer, purpose } } => {
                let state = self.scopes.borrow().get(&scope).cloned();
                // The scope may have been removed on the way.
                if let Some(state) = state {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => self.serve(state, Arrival { stream, peer, purpose }),
                        Err(error) => tracing::warn!(%error, "cannot take a connection"),
                    }
                }
            }
        }
    }

    fn localise(&self, scope: &Scope, live: &LiveTable) -> LocalTable {
        let mut endpoints = self.endpoints.borrow_mut();
        let mut local = |live: &LiveEndpoint| {
            let key = (live.instance.clone(), live.address, live.protocol);
            let known = endpoints.get(&key).and_then(Weak::upgrade);
            let endpoint = known.unwrap_or_else(|| {
                let new = Rc::new(Endpoint::new(
                    live.instance.clone(),
                    live.address,
                    live.protocol,
                    Arc::clone(&live.in_flight),
                    Arc::clone(&live.health),
                ));
                endpoints.insert(key, Rc::downgrade(&new));
                new
            });
            endpoint.set_drain(live.drain);
            endpoint
        };
        let mut routes = Vec::with_capacity(live.routes.len());
        for route in &live.routes {
            let slow_start = route.rule.handling.slow_start.map(Into::into);
            let slow_start = clock::in_millis(slow_start.unwrap_or(self.limits.slow_start));
            let backends: Vec<Rc<Backend>> = route
                .backends
                .iter()
                .map(|live| {
                    let budget = self.budget(scope, &live.revision);
                    Rc::new(backend(live, slow_start, budget, &mut local))
                })
                .collect();
            let shared = backends.iter().map(|backend| Shared {
                revision: &backend.revision,
                role: &backend.role,
                share: backend.share,
            });
            routes.push(LocalRoute {
                visitors: Visitors::of(&route.rule, shared, scope, self.visitors),
                mirror: Mirror::of(route.rule.handling.mirror, &backends),
                rule: route.rule.clone(),
                backends,
            });
        }
        let gives_cookies =
            routes.iter().any(|route| route.rule.handling.sticky == Some(Sticky::Cookie));
        LocalTable {
            routes,
            tls: live.tls.clone(),
            ingress: Arc::clone(&live.ingress),
            redirect: live.redirect.clone(),
            gate: live.gate.clone(),
            access_log: live.access_log.as_ref().map(|policy| Sink::new(scope, policy)),
            unanswered: live.unanswered.clone(),
            limits: Rc::new(self.limits.with(&live.limits)),
            gives_cookies,
        }
    }

    fn budget(&self, scope: &Scope, revision: &RevisionId) -> Rc<Budget> {
        let mut budgets = self.budgets.borrow_mut();
        Rc::clone(budgets.entry((scope.clone(), revision.clone())).or_default())
    }

    /// Accepts on this listener in place of the former one, whose task is returned.
    fn listen(
        self: &Rc<Self>,
        state: &Rc<ScopeState>,
        purpose: Purpose,
        listener: std::net::TcpListener,
    ) -> Option<JoinHandle<()>> {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(scope = %state.scope, %error, "a worker cannot listen");
                return None;
            }
        };
        let (worker, accepting) = (Rc::clone(self), Rc::clone(state));
        let task = spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        worker.place(&accepting, Arrival { stream, peer, purpose });
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: others end in the meantime.
                        tracing::warn!(scope = %accepting.scope, %error, "cannot accept");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        });
        let former = state.stop_accepting(purpose);
        state.accepting.of(purpose).replace(Some(task));
        former
    }

    /// Gives a new connection to the worker with the fewest, once in its life: few connections
    /// that live long would otherwise gather at one worker.
    fn place(self: &Rc<Self>, state: &Rc<ScopeState>, arrival: Arrival) {
        let load = |handle: &Handle| handle.connections.load(Relaxed);
        let least = (0..self.workers.len()).min_by_key(|index| load(&self.workers[*index]));
        match least {
            Some(other) if load(&self.workers[other]) < load(&self.workers[self.index]) => {
                let Arrival { stream, peer, purpose } = arrival;
                match stream.into_std() {
                    Ok(stream) => self.workers[other].send(Command::Connection {
                        scope: state.scope.clone(),
                        arrival: Arrival { stream, peer, purpose },
                    }),
                    Err(error) => tracing::warn!(%error, "cannot hand over a connection"),
                }
            }
            _ => self.serve(Rc::clone(state), arrival),
        }
    }

    fn serve(self: &Rc<Self>, scope: Rc<ScopeState>, arrival: Arrival) {
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        let activity = Arc::new(Activity::new(&scope.limits()));
        let listed = Listed { worker: Rc::clone(self), number };
        self.workers[self.index].connections.fetch_add(1, Relaxed);
        let task = spawn_local(connection::serve(listed, scope, arrival, Arc::clone(&activity)));
        let open = Open { activity, task: task.abort_handle() };
        self.open.borrow_mut().insert(number, open);
    }

    fn sweep_interval(&self) -> Duration {
        let scopes = self.scopes.borrow();
        let scopes = scopes.values().map(|scope| scope.limits());
        scopes
            .map(|limits| limits.client_idle.min(limits.request_head))
            .fold(self.limits.upstream_idle, Duration::min)
            .div_f64(4.0)
            .clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Closes what has been idle for too long. One look at all of them costs less than a timer for
    /// each.
    fn sweep(&self) {
        for open in self.open.borrow().values() {
            if open.activity.is_overdue() && !open.activity.ask_to_end() {
                open.task.abort();
            }
        }
        let now = Instant::now();
        for endpoint in self.endpoints.borrow().values().filter_map(Weak::upgrade) {
            endpoint.close_idle(now, self.limits.upstream_idle);
        }
        self.upgraded.sweep(now, self.limits.farewell);
        let second = clock::millis() / 1_000;
        for budget in self.budgets.borrow().values() {
            budget.tick(second);
        }
    }

    /// Knows an upgraded connection until the guard is dropped.
    pub(crate) fn upgraded(self: &Rc<Self>, endpoint: Option<&Rc<Endpoint>>) -> Upgraded {
        let (number, end) = self.upgraded.begin(endpoint);
        Upgraded { worker: Rc::clone(self), number, end }
    }
}

fn backend(
    live: &LiveBackend,
    slow_start: u64,
    budget: Rc<Budget>,
    local: impl FnMut(&LiveEndpoint) -> Rc<Endpoint>,
) -> Backend {
    Backend {
        revision: live.revision.clone(),
        role: live.role.clone(),
        share: live.share,
        meter: Arc::clone(&live.meter),
        turn: Cell::new(0),
        gate: live.gate.clone(),
        ejecting: Arc::clone(&live.ejecting),
        slow_start,
        budget,
        destination: match &live.upstream {
            LiveUpstream::Endpoints(live) => {
                Destination::Endpoints(live.iter().map(local).collect())
            }
            LiveUpstream::Files(site) => Destination::Files(Arc::clone(site)),
        },
    }
}

/// A connection's place in the worker's list; leaves it when dropped.
pub(crate) struct Listed {
    pub(crate) worker: Rc<Worker>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.worker.open.borrow_mut().remove(&self.number);
        self.worker.workers[self.worker.index].connections.fetch_sub(1, Relaxed);
    }
}

/// An upgraded connection.
pub(crate) struct Upgraded {
    worker: Rc<Worker>,
    number: u64,
    end: Rc<End>,
}

impl Upgraded {
    /// Tells it to end.
    pub(crate) fn end(&self) -> &End {
        &self.end
    }

    /// A number that nobody else knows.
    pub(crate) fn random(&self) -> u64 {
        self.worker.random.next()
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.worker.upgraded.forget(self.number);
    }
}
