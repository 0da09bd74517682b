//! Deadlines of requests, which peers say: one that is absurdly far ends the connection's task by a
//! panic of the timers that are set for it.

use std::{
    io,
    time::{Duration, Instant},
};

use tarpc::ClientMessage;

/// Nobody waits for an answer for longer: the longest `call_timeout_ms` there is.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A message whose deadline, if it has one, is not beyond what timers can hold.
pub(super) fn within_reach<Request>(
    message: io::Result<ClientMessage<Request>>,
) -> io::Result<ClientMessage<Request>> {
    let mut message = message?;
    if let ClientMessage::Request(request) = &mut message {
        let deadline = &mut request.context.deadline;
        *deadline = (*deadline).min(Instant::now() + LONGEST);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt, StreamExt};
    use tarpc::{
        Request, Response, context,
        server::{BaseChannel, Channel},
        transport::channel,
    };

    use super::*;

    /// A timer that is set for more than about two years panics.
    #[tokio::test]
    async fn a_request_with_an_absurd_deadline_is_answered_as_others() {
        let (mut near, far) = channel::unbounded::<Response<u32>, ClientMessage<u32>>();
        let far = far.map(|message| within_reach(message.map_err(io::Error::other)));
        let requests = BaseChannel::with_defaults(far.sink_map_err(io::Error::other));
        let mut requests = Box::pin(requests.requests());
        let mut context = context::current();
        for years in [1, 10, 100] {
            context.deadline = Instant::now() + Duration::from_secs(years * 365 * 24 * 60 * 60);
            let request = Request { context, id: years, message: 7 };
            near.send(ClientMessage::Request(request)).await.unwrap();
            let request = requests.next().await.unwrap().unwrap();
            assert_eq!((request.get().id, request.get().message), (years, 7));
            let left = request.get().context.deadline.duration_since(Instant::now());
            assert!(left <= LONGEST, "{left:?}");
        }
    }
}
