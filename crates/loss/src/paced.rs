//! Bodies that come part by part, with a pause before each but the first.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// Such a body.
#[derive(Debug)]
pub(crate) struct Paced {
    parts: VecDeque<Bytes>,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the other side is told how much there is.
    sized: bool,
}

impl Paced {
    pub(crate) fn empty() -> Self {
        Self { parts: VecDeque::new(), pause: Duration::ZERO, timer: None, sized: true }
    }

    /// All at once.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { parts: [bytes.into()].into(), ..Self::empty() }
    }

    pub(crate) fn parts(parts: Vec<Bytes>, pause: Duration, sized: bool) -> Self {
        Self { parts: parts.into(), pause, timer: None, sized }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(context));
            self.timer = None;
        }
        let part = self.parts.pop_front();
        if !self.pause.is_zero() && !self.parts.is_empty() {
            self.timer = Some(Box::pin(tokio::time::sleep(self.pause)));
        }
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.sized {
            SizeHint::with_exact(self.parts.iter().map(|part| part.len() as u64).sum())
        } else {
            SizeHint::default()
        }
    }
}
