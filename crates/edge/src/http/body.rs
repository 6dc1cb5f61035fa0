//! Bodies on their way through.
//!
//! Owns streaming in both directions, what is kept of a request for a second try, and what happens when a response has
//! been sent: the upstream connection goes back, the exchange is closed. It never collects a whole body.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::connect::Carrier;
use crate::exchange::Exchange;
use crate::statics::FileBody;

/// How much of a request body is kept for a second try.
const KEPT_MOST: usize = 64 << 10;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The other end of a forwarded body.
    #[error("the body broke off")]
    Stream(#[from] hyper::Error),
    /// The file changed or could not be read.
    #[error("could not read the file")]
    File(#[from] std::io::Error),
    /// The client paused for too long.
    #[error("the body stalled for {} s", .0.as_secs())]
    Stalled(Duration),
    /// A body was asked for that a later attempt took over.
    #[error("the body was taken over by another attempt")]
    TakenOver,
}

/// A request body on its way to an upstream.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Empty,
    /// Sent once.
    Once(Arriving),
    /// Kept while it is small, so that it can be sent again.
    Again(Replay),
}

impl Outgoing {
    /// A body that can be sent once.
    pub(crate) fn once(arriving: Arriving) -> Self {
        Outgoing::Once(arriving)
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Outgoing::Empty => Poll::Ready(None),
            Outgoing::Once(arriving) => arriving.poll_frame(cx),
            Outgoing::Again(replay) => replay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Empty => true,
            Outgoing::Once(arriving) => arriving.incoming.is_end_stream(),
            Outgoing::Again(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Empty => SizeHint::with_exact(0),
            Outgoing::Once(arriving) => arriving.incoming.size_hint(),
            Outgoing::Again(replay) => replay.source.borrow().length,
        }
    }
}

/// A request body as it comes from the client: counted, and not waited for without end.
#[derive(Debug)]
pub(crate) struct Arriving {
    incoming: Incoming,
    count: Rc<Cell<u64>>,
    /// Set when the client broke off or paused too long.
    failed: Rc<Cell<bool>>,
    limit: Option<Duration>,
    /// Runs while the client pauses.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    /// With no `limit` the client may pause as it likes.
    pub(crate) fn new(incoming: Incoming, count: Rc<Cell<u64>>, limit: Option<Duration>) -> Self {
        Self { incoming, count, failed: Rc::default(), limit, pause: None }
    }

    /// Whether the client broke it off, readable wherever the body is by then.
    pub(crate) fn failed(&self) -> Rc<Cell<bool>> {
        self.failed.clone()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.poll_pause(cx);
        };
        self.pause = None;
        match &frame {
            Some(Ok(frame)) => self.count.set(self.count.get() + frame.data_ref().map_or(0, Bytes::len) as u64),
            Some(Err(_)) => self.failed.set(true),
            None => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(limit) = self.limit else { return Poll::Pending };
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(pause.as_mut().poll(cx));
        self.failed.set(true);
        Poll::Ready(Some(Err(BodyError::Stalled(limit))))
    }
}

/// A request body that is read once and can be sent several times while it is small.
#[derive(Debug)]
pub(crate) struct Source {
    arriving: Arriving,
    length: SizeHint,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    is_whole: bool,
    too_large: bool,
    /// Only the newest attempt may read; an old one may still be held by a dying connection.
    attempt: u32,
}

/// One attempt at sending a [`Source`].
#[derive(Debug)]
pub(crate) struct Replay {
    source: Rc<RefCell<Source>>,
    attempt: u32,
    position: usize,
    sent_trailers: bool,
}

impl Source {
    pub(crate) fn new(arriving: Arriving) -> Rc<RefCell<Self>> {
        let length = arriving.incoming.size_hint();
        Rc::new(RefCell::new(Self {
            arriving,
            length,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            is_whole: false,
            too_large: false,
            attempt: 0,
        }))
    }

    /// The body from its start, or `None` when it was too large to be kept or the client broke it off.
    pub(crate) fn attempt(source: &Rc<RefCell<Self>>) -> Option<Outgoing> {
        let mut inner = source.borrow_mut();
        if inner.too_large || inner.arriving.failed.get() {
            return None;
        }
        inner.attempt += 1;
        let attempt = inner.attempt;
        Some(Outgoing::Again(Replay { source: source.clone(), attempt, position: 0, sent_trailers: false }))
    }

    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        if self.kept_bytes > KEPT_MOST {
            self.too_large = true;
            self.kept.clear();
        }
        if !self.too_large {
            self.kept.push(data.clone());
        }
    }
}

impl Replay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut source = self.source.borrow_mut();
        if source.attempt != self.attempt {
            return Poll::Ready(Some(Err(BodyError::TakenOver)));
        }
        if let Some(data) = source.kept.get(self.position) {
            let data = data.clone();
            self.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if source.is_whole {
            let trailers = source.trailers.clone().filter(|_| !std::mem::replace(&mut self.sent_trailers, true));
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let source = &mut *source;
        match ready!(source.arriving.poll_frame(cx)) {
            None => {
                source.is_whole = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    source.keep(data);
                    self.position = source.kept.len();
                } else if let Some(trailers) = frame.trailers_ref() {
                    source.trailers = Some(trailers.clone());
                    source.is_whole = true;
                    self.sent_trailers = true;
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

/// A response body on its way to a client.
#[derive(Debug)]
pub(crate) struct Body {
    kind: Kind,
    exchange: Option<Box<Exchange>>,
}

#[derive(Debug)]
enum Kind {
    Empty,
    Full(Option<Bytes>),
    /// The connection goes back when the body has ended, and is closed when the body is dropped before.
    Upstream {
        incoming: Incoming,
        carrier: Option<Carrier>,
    },
    File(FileBody),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { kind: Kind::Empty, exchange: None }
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(Some(bytes)) };
        Self { kind, exchange: None }
    }

    pub(crate) fn file(file: FileBody) -> Self {
        Self { kind: Kind::File(file), exchange: None }
    }

    /// What an upstream sends; a body that is over already gives the connection back at once.
    pub(crate) fn upstream(incoming: Incoming, carrier: Carrier) -> Self {
        if incoming.is_end_stream() {
            carrier.give_back();
            return Self::empty();
        }
        Self { kind: Kind::Upstream { incoming, carrier: Some(carrier) }, exchange: None }
    }

    /// Closes `exchange` when the body has ended, one way or the other.
    pub(crate) fn within(mut self, exchange: Exchange) -> Self {
        self.exchange = Some(Box::new(exchange));
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.kind {
            Kind::Empty => None,
            Kind::Full(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Kind::Upstream { incoming, carrier } => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                let over = frame.is_none() || incoming.is_end_stream();
                if over && let Some(carrier) = carrier.take() {
                    carrier.give_back();
                }
                frame.map(|frame| frame.map_err(BodyError::from))
            }
            Kind::File(file) => ready!(file.poll_chunk(cx)).map(|read| read.map(Frame::data).map_err(BodyError::from)),
        };
        if let Some(exchange) = &mut this.exchange {
            match &frame {
                Some(Ok(frame)) => exchange.sent(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(_)) => exchange.broke_off(),
                None => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Upstream { incoming, .. } => incoming.is_end_stream(),
            Kind::File(file) => file.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Upstream { incoming, .. } => incoming.size_hint(),
            Kind::File(file) => SizeHint::with_exact(file.left()),
        }
    }
}
