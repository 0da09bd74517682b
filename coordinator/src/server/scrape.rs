//! What a coordinator tells of itself: what it has counted, and what is the case now.

use keyloom_common::rpc::{PortName, ReceiveRoom, Reloads};

use super::Shared;
use crate::{metrics::Share, scheduler::Load};

/// All metrics, in the format of OpenMetrics.
pub(super) async fn scrape(shared: &Shared, http: Reloads) -> String {
    let metrics = shared.dispatcher.metrics();
    let load = shared.dispatcher.load().await;
    let Load { active, draining, free_slots, taken_slots, running, queued, silence } = load;
    let (gauges, room) = (&metrics.gauges, shared.dispatcher.room());
    gauges.set_workers(active, draining, silence);
    gauges.set_slots(free_slots, taken_slots);
    gauges.set_tasks(running, queued);
    gauges.set_jobs(shared.jobs.states());
    let operators = shared.jobs.operators();
    gauges.set_spilled(room.file_bytes(), operators.file_bytes());
    let [of_operators, of_results] = operators.shares();
    let gathered = Share::of("gathered", room.memory());
    let received = received(&shared.room);
    gauges.set_memory([received, of_operators, gathered, of_results, shared.blobs.share()]);
    metrics.reloads.set([(PortName::Rpc, shared.gate.reloads()), (PortName::Http, http)]);
    metrics.text()
}

fn received(room: &ReceiveRoom) -> Share {
    let (used, limit) = room.taken();
    Share { name: "receive", used, limit }
}
