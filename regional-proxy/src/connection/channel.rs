//! What the exchanges of one HTTP/1 connection, or of one HTTP/2 stream, share with the transport below them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::h2::Open;
use crate::tunnel::Switched;
use crate::watch::{Party, Watch};
use crate::worker::Worker;
use tollgate_core::Peer;

/// An HTTP/1 connection that was idle for this long gives its buffers back.
pub(super) const PARK_AFTER: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing of a next request has arrived.
    Idle,
    /// Some of a head has arrived.
    Head,
    /// A request is being answered.
    Exchange,
}

/// One place for one exchange at a time. It lives on one thread and in one task.
pub(crate) struct Channel {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: Peer,
    pub(crate) watch: Watch,
    phase: Cell<Phase>,
    /// Bytes of a reply wait for a client that does not read.
    write_is_blocked: Cell<bool>,
    /// The head of the reply is there: from now on either direction's progress is enough.
    is_answered: Cell<bool>,
    /// The upgraded upstream connection, waiting for the client's side of it.
    pub(super) switched: RefCell<Option<Box<Switched>>>,
    client_idle: Duration,
    header_read: Duration,
    /// The stream's place in its connection; an HTTP/1 connection has none.
    open: Option<Open>,
}

impl Channel {
    /// For an HTTP/1 connection.
    pub(super) fn new(worker: Rc<Worker>, peer: Peer) -> Rc<Channel> {
        Channel::within(worker, peer, None)
    }

    /// For a stream of an HTTP/2 connection.
    pub(super) fn of_stream(worker: Rc<Worker>, peer: Peer, open: Open) -> Rc<Channel> {
        Channel::within(worker, peer, Some(open))
    }

    fn within(worker: Rc<Worker>, peer: Peer, open: Option<Open>) -> Rc<Channel> {
        let (client_idle, header_read) =
            (worker.shared.timeouts().idle, worker.shared.timeouts().header_read);
        let watch = worker.watches.watch();
        Rc::new(Channel {
            worker,
            peer,
            watch,
            phase: Cell::new(Phase::Idle),
            write_is_blocked: Cell::new(false),
            is_answered: Cell::new(false),
            switched: RefCell::new(None),
            client_idle,
            header_read,
            open,
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    fn begin(&self) {
        self.phase.set(Phase::Exchange);
        self.is_answered.set(false);
        self.watch.clear(Party::Client);
    }

    /// The reply was handed over whole, or given up.
    fn end(&self) {
        self.phase.set(Phase::Idle);
        self.watch.clear(Party::Upstream);
        if !self.write_is_blocked.get() {
            self.watch.set(Party::Client, PARK_AFTER);
        }
    }

    pub(crate) fn answered(&self) {
        self.is_answered.set(true);
        self.watch.clear(Party::Client);
    }

    /// The upstream wants more of the request's body, and the client has not sent it yet.
    pub(crate) fn wants_body(&self) {
        if !self.is_answered.get() {
            self.watch.set_if_off(Party::Client, self.client_idle);
        }
    }

    /// A piece of the request's body went upstream.
    pub(crate) fn moved_body(&self, upstream_within: Option<Duration>) {
        if !self.is_answered.get() {
            self.watch.clear(Party::Client);
        }
        if let Some(within) = upstream_within {
            self.watch.set(Party::Upstream, within);
        }
    }

    /// The reply's body is asked for more: an HTTP/2 client has opened its window.
    pub(crate) fn pulled(&self) {
        if self.open.is_some() {
            self.watch.clear(Party::Client);
        }
    }

    /// True when a reply's body has waited too long for the client's window. To be called while the stream waits.
    pub(super) fn is_overdue(&self) -> bool {
        let waits_for_client = self.phase.get() == Phase::Exchange
            && self.is_answered.get()
            && !self.watch.is_set(Party::Upstream);
        if waits_for_client {
            self.watch.set_if_off(Party::Client, self.client_idle);
        }
        waits_for_client && self.watch.has_rung(Party::Client)
    }

    /// Starts over with what `serve` was given: `has_early` bytes of a head, or none.
    pub(super) fn resume(&self, has_early: bool) {
        if has_early {
            self.phase.set(Phase::Head);
            self.watch.set(Party::Client, self.header_read);
        } else {
            self.phase.set(Phase::Idle);
            self.watch.set(Party::Client, PARK_AFTER);
        }
    }

    pub(super) fn read(&self) {
        if self.phase.get() == Phase::Idle {
            self.phase.set(Phase::Head);
            self.watch.set(Party::Client, self.header_read);
        }
    }

    pub(super) fn write_blocked(&self) {
        self.write_is_blocked.set(true);
        self.watch.set_if_off(Party::Client, self.client_idle);
    }

    pub(super) fn wrote(&self) {
        if self.write_is_blocked.replace(false) {
            match self.phase.get() {
                Phase::Idle => self.watch.set(Party::Client, PARK_AFTER),
                Phase::Head | Phase::Exchange => self.watch.clear(Party::Client),
            }
        }
    }

    pub(super) fn is_write_blocked(&self) -> bool {
        self.write_is_blocked.get()
    }
}

/// An exchange's turn on its channel, from its head to the end of its reply's body or to where it was given up.
pub(crate) struct Ticket {
    pub(crate) channel: Rc<Channel>,
}

impl Ticket {
    pub(super) fn new(channel: &Rc<Channel>) -> Ticket {
        channel.begin();
        Ticket { channel: channel.clone() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.channel.end();
    }
}
