//! One data-path thread: a runtime of its own, and everything its connections share without a lock.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::Cache;
use hyper::server::conn::{http1, http2};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::{self, now};
use crate::connection::{self, Accepted, StreamExecutor};
use crate::engine::{EventSink, Shared};
use crate::errands::{self, Errands};
use crate::upstream::{Names, Upstreams, health};
use crate::watch::{TICK, Watches};
use tollgate_core::{Event, Gateway};

/// Ticks between two looks at idle upstream connections: 1 s.
const TIDY_EVERY_TICKS: u64 = 50;
/// What is still there this long before the drain's deadline is told to go, where its protocol can say so.
const PARTING: Duration = Duration::from_millis(500);
/// A connection that is idle when the drain begins is left open for this long: its next request may be on the way, and
/// is answered with `Connection: close` instead of a reset.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// What the connections of one thread share.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lane: u16,
    pub(crate) watches: Rc<Watches>,
    pub(crate) upstreams: Upstreams,
    pub(crate) names: Names,
    pub(crate) errands: Errands,
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<StreamExecutor>,
    gateway: RefCell<Cache<Arc<arc_swap::ArcSwap<Gateway>>, Arc<Gateway>>>,
    stage: Cell<Stage>,
}

/// How far the worker is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// Nothing new is taken; what is in flight goes on.
    Draining,
    /// Connections that are still idle are closed.
    Closing,
    /// The deadline is near: tunnels say goodbye.
    Parting,
}

impl Worker {
    /// The generation that requests start under now.
    pub(crate) fn gateway(&self) -> Arc<Gateway> {
        self.gateway.borrow_mut().load().clone()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.stage.get() >= Stage::Draining
    }

    pub(crate) fn closes_idle(&self) -> bool {
        self.stage.get() >= Stage::Closing
    }

    pub(crate) fn is_parting(&self) -> bool {
        self.stage.get() >= Stage::Parting
    }

    fn enter(&self, stage: Stage) {
        if self.stage.get() < stage {
            self.stage.set(stage);
            self.watches.wake_all();
        }
    }
}

/// Runs the data path of one lane on the calling thread until it has drained.
pub(crate) fn run(
    shared: Arc<Shared>,
    lane: u16,
    accepted: UnboundedReceiver<Accepted>,
    mut sink: EventSink,
) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.expect("the operating system has a descriptor left for an event loop");
    let worker = runtime.block_on(async {
        let worker = worker(shared, lane);
        spawn_local(take(worker.clone(), accepted));
        spawn_local(errands::run_all(worker.clone()));
        if lane == 0 {
            spawn_local(health::watch(worker.clone()));
        }
        tick(&worker, &mut sink).await;
        settle(&worker).await;
        worker
    });
    // What the deadline cuts off ends here, and its events are the last ones.
    drop(runtime);
    deliver(&worker, &mut Vec::new(), &mut sink);
}

fn worker(shared: Arc<Shared>, lane: u16) -> Rc<Worker> {
    let watches = Watches::new();
    Rc::new(Worker {
        lane,
        upstreams: Upstreams::new(watches.clone()),
        watches,
        names: Names::from_system(),
        errands: Errands::new(shared.stores.as_ref()),
        http1: connection::http1_builder(&shared),
        http2: connection::http2_builder(&shared),
        gateway: RefCell::new(Cache::new(shared.gateway.clone())),
        stage: Cell::new(Stage::Serving),
        shared,
    })
}

async fn take(worker: Rc<Worker>, mut accepted: UnboundedReceiver<Accepted>) {
    while let Some(accepted) = accepted.recv().await {
        spawn_local(connection::serve(worker.clone(), accepted));
    }
}

/// The heartbeat: deadlines, events, and the drain.
async fn tick(worker: &Worker, sink: &mut EventSink) {
    let mut events = Vec::new();
    let mut ticks = 0u64;
    let mut draining_since = None;
    let mut interval = interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        ticks += 1;
        clock::follow_wall();
        worker.watches.sweep();
        deliver(worker, &mut events, sink);
        if ticks.is_multiple_of(TIDY_EVERY_TICKS) {
            worker.upstreams.tidy();
        }
        if let Some(deadline) = worker.shared.drain_deadline() {
            worker.enter(Stage::Draining);
            if draining_since.get_or_insert_with(Instant::now).elapsed() >= IDLE_GRACE {
                worker.enter(Stage::Closing);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left <= PARTING {
                worker.enter(Stage::Parting);
            }
            let open = worker.shared.connections[usize::from(worker.lane)].load(Ordering::Acquire);
            if open == 0 || left.is_zero() {
                return;
            }
        }
    }
}

/// The last calls to the shared store. What is borrowed goes back once no lane can spend any of it.
async fn settle(worker: &Worker) {
    let gateway = worker.gateway();
    let is_last = worker.shared.lanes_left.fetch_sub(1, Ordering::AcqRel) == 1;
    let calls = if is_last { gateway.close_leases(now()) } else { gateway.store_calls() };
    worker.errands.run(calls).await;
}

fn deliver(worker: &Worker, events: &mut Vec<Event>, sink: &mut EventSink) {
    worker.gateway().drain(usize::from(worker.lane), events);
    if !events.is_empty() {
        sink(events);
        events.clear();
    }
}

/// Spawns what hyper wants to run beside a connection on the same thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(async move { drop(future.await) });
    }
}

/// Tokio's timers for hyper's HTTP/2 pings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalTimer;

struct Sleep(Pin<Box<tokio::time::Sleep>>);

impl hyper::rt::Timer for LocalTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}
