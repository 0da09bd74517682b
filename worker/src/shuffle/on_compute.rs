//! What is asked on the threads of connections is answered on those that compute: the former have
//! nothing that takes long, and an answer begins what it begins on the latter.
//!
//! What an answer goes on with is made there, too, and waits in bounded queues; the threads of
//! connections take it out of these.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// A service whose answers are computed on these threads.
#[derive(Clone)]
pub(super) struct OnCompute<S> {
    pub(super) service: S,
    pub(super) threads: Handle,
}

impl<S: NamedService> NamedService for OnCompute<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for OnCompute<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // A peer that does not want the answer any more drops it.
        let answer = AbortOnDropHandle::new(self.threads.spawn(self.service.call(request)));
        let answered = answer.map(|ended| match ended {
            Ok(answer) => answer,
            Err(error) => {
                let why = format!("the worker did not answer what it was asked: {error}");
                Ok(Status::unavailable(why).into_http())
            }
        });
        answered.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread};

    use http::HeaderValue;
    use keyloom_common::background::Background;
    use tokio::sync::oneshot;
    use tonic::Code;
    use tower::service_fn;

    use super::*;

    const THREAD: &str = "thread";

    /// Answers which thread it is on.
    fn which_thread(
        threads: Handle,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
        let service = service_fn(|_: Request<Body>| async {
            let name = thread::current().name().unwrap_or_default().to_owned();
            let mut answer = Response::new(Body::empty());
            answer.headers_mut().insert(THREAD, HeaderValue::from_str(&name).unwrap());
            Ok::<_, Infallible>(answer)
        });
        OnCompute { service, threads }
    }

    #[tokio::test]
    async fn what_is_asked_is_answered_on_the_threads_that_compute() {
        let compute = Background::start("compute", 1).unwrap();
        let mut service = which_thread(compute.handle().clone());
        let answer = service.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.headers()[THREAD], "compute");
    }

    #[tokio::test]
    async fn threads_that_are_gone_are_an_error_that_says_so() {
        let compute = Background::start("compute", 1).unwrap();
        let mut service = which_thread(compute.handle().clone());
        drop(compute);
        let answer = service.call(Request::new(Body::empty())).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_given_up() {
        let compute = Background::start("compute", 1).unwrap();
        let (held, given_up) = oneshot::channel::<()>();
        let mut held = Some(held);
        let service = service_fn(move |_: Request<Body>| {
            let held = held.take();
            async move {
                let _held = held;
                pending::<()>().await;
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        let mut service = OnCompute { service, threads: compute.handle().clone() };
        let answer = service.call(Request::new(Body::empty()));
        drop(answer);
        assert!(given_up.await.is_err());
    }
}
