//! The orders for one worker, in answers of bounded size.

use keyloom_common::rpc::{Order, Work, bincode};
use serde::Serialize;
use tokio::sync::mpsc;

/// The orders that a worker has not heard.
#[derive(Debug)]
pub(super) struct Outbox {
    orders: mpsc::UnboundedReceiver<Order>,
    /// One that did not fit into the last answer.
    kept: Option<Order>,
}

impl Outbox {
    pub(super) fn new(orders: mpsc::UnboundedReceiver<Order>) -> Self {
        Self { orders, kept: None }
    }

    /// Waits for orders, and gives as many as one answer of so many bytes holds, or one. None if
    /// none will come any more. Who stops waiting loses none.
    pub(super) async fn next(&mut self, max_bytes: usize) -> Option<Vec<Order>> {
        let first = match self.kept.take() {
            Some(kept) => kept,
            None => self.orders.recv().await?,
        };
        let mut bytes = order_bytes(&first);
        let mut all = vec![first];
        while let Ok(order) = self.orders.try_recv() {
            bytes += order_bytes(&order);
            if bytes > max_bytes {
                self.kept = Some(order);
                break;
            }
            all.push(order);
        }
        Some(all)
    }
}

/// About the bytes of an order.
fn order_bytes(order: &Order) -> usize {
    const NAMES: usize = 256;
    let work = match order {
        Order::Start(assignment) => match &assignment.work {
            Work::Fragment { slice, .. } => slice.bytes().len(),
            Work::DescribeStore(spec) => encoded_bytes(spec),
            Work::DescribeInput(spec, known) => encoded_bytes(&(spec, known)),
            Work::PrepareOutput(planned, known) => encoded_bytes(&(planned, known)),
            Work::CommitOutput(written) | Work::AbortOutput(written) => encoded_bytes(written),
            Work::Shuffle { peers, .. } => encoded_bytes(peers),
            Work::CheckResumed(resumed) => encoded_bytes(resumed),
        },
        Order::Stop(_) | Order::Leave => 0,
    };
    NAMES + work
}

/// What cannot be encoded does not travel.
fn encoded_bytes(value: &impl Serialize) -> usize {
    bincode::encoded_bytes(value).map_or(0, |bytes| bytes as usize)
}
