//! What a daemon answers beside what it tells of itself: to those who may submit jobs, and within
//! bounds of its own. So many requests are answered at once, however long their answers take; what
//! is being answered keeps its connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use keyloom_common::{ErrorKind, Result, http::HttpJobsSettings, rpc::Identity};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    callers::Callers,
    places::{Busy, BusyNow},
    refusal::Refusal,
};

/// What a daemon answers beside what it tells of itself.
#[derive(Debug)]
pub struct Pages {
    /// What answers. Each request has the [`Identity`] of whoever asks among its extensions.
    pub router: Router,
    /// Within which bounds.
    pub settings: HttpJobsSettings,
    /// Whether strangers may ask, where they reach the port and nothing says who they are.
    pub insecure: bool,
}

/// What a connection shows of its peer, for all that comes over it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Who it is by its certificate, if it shows one; or why that says nothing of it.
    pub(super) certified: Result<Option<Identity>>,
    pub(super) busy: Busy,
}

/// The way in.
#[derive(Debug)]
struct Door {
    callers: Callers,
    requests: Arc<Semaphore>,
    max_requests: usize,
    timeout: Duration,
}

/// The pages behind their door.
pub(super) fn behind(pages: Pages, callers: Callers) -> Router {
    let Pages { router, settings, .. } = pages;
    let max_requests = settings.max_requests.clamp(1, Semaphore::MAX_PERMITS);
    let requests = Arc::new(Semaphore::new(max_requests));
    let door = Door { callers, requests, max_requests, timeout: settings.request_timeout() };
    let most = usize::try_from(settings.body_bytes).unwrap_or(usize::MAX);
    router.layer(DefaultBodyLimit::max(most)).layer(from_fn_with_state(Arc::new(door), admitted))
}

async fn admitted(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    let held = match door.admit(&mut request) {
        Ok(held) => held,
        Err(refused) => return refused.into_response(),
    };
    match timeout(door.timeout, next.run(request)).await {
        Ok(answer) => answer.map(|body| Body::new(Answering { body, _held: held })),
        Err(_) => {
            let late = format!(
                "no answer in {:?}, the setting http_jobs.request_timeout_ms",
                door.timeout
            );
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::Timeout, late).into_response()
        }
    }
}

impl Door {
    /// Lets a request in, which then says who asks.
    fn admit(&self, request: &mut Request) -> Result<Held, Refusal> {
        let peer = request.extensions().get::<Peer>().cloned();
        let certified = peer.as_ref().map_or(Ok(None), |peer| peer.certified.clone());
        let certified = certified.map_err(|error| Refusal::unknown(error.message()))?;
        let identity = self.callers.identify(certified, request.headers())?;
        let permit = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| {
            let full = format!(
                "{} requests are being answered, and http_jobs.max_requests = {}: come again",
                self.max_requests, self.max_requests
            );
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::ResourceExhausted, full)
        })?;
        request.extensions_mut().insert(identity);
        Ok(Held { _permit: permit, _busy: peer.map(|peer| peer.busy.begin()) })
    }
}

/// What a request takes until its answer has gone out.
#[derive(Debug)]
struct Held {
    _permit: OwnedSemaphorePermit,
    _busy: Option<BusyNow>,
}

/// A body, and what is given back when it has gone out.
#[derive(Debug)]
struct Answering {
    body: Body,
    _held: Held,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
