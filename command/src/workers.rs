//! `keyloom workers`: who is registered with a coordinator, and who is to take no more tasks.

use keyloom_client::{Session, report::WorkerStatus};
use serde::Serialize;

use crate::{
    cli::{DrainArguments, Form, ListWorkersArguments, WorkersArguments, WorkersCommand},
    columns::columns,
    error::Failure,
    open, text,
    watch::Watch,
};

/// Runs a command on workers; without one, lists them.
pub(crate) async fn run(arguments: WorkersArguments, watch: &Watch) -> Result<(), Failure> {
    match arguments.command {
        None => list(arguments.list, watch).await,
        Some(WorkersCommand::List(arguments)) => list(arguments, watch).await,
        Some(WorkersCommand::Drain(arguments)) => drain(arguments, watch).await,
    }
}

async fn list(arguments: ListWorkersArguments, watch: &Watch) -> Result<(), Failure> {
    let session = open::on_cluster(arguments.cluster, watch).await?;
    let workers = watch.step(session.workers()).await?;
    watch.end();
    match arguments.print.format {
        Form::Json => text::print(&json(workers)),
        Form::Table if workers.is_empty() => text::print("no worker is registered"),
        Form::Table => text::print(&in_columns(workers)),
    }
}

async fn drain(arguments: DrainArguments, watch: &Watch) -> Result<(), Failure> {
    let DrainArguments { worker, cluster, print } = arguments;
    let session = open::on_cluster(cluster, watch).await?;
    let meant = only(watch.step(session.workers()).await?, &worker)?;
    watch.step(session.drain_worker(meant.id)).await?;
    let drained = after(&session, meant, watch).await?;
    watch.end();
    text::print(&match print.format {
        Form::Json => json(drained),
        Form::Table => in_columns(drained),
    })
}

/// The worker as it is now: it may have gone, if it ran nothing, or not yet have said that it
/// drains.
async fn after(
    session: &Session,
    meant: WorkerStatus,
    watch: &Watch,
) -> Result<Vec<WorkerStatus>, Failure> {
    let mut workers = watch.step(session.workers()).await?;
    workers.retain(|worker| worker.id == meant.id);
    if workers.is_empty() {
        workers.push(WorkerStatus { running: 0, ..meant });
    }
    workers.iter_mut().for_each(|worker| worker.draining = true);
    Ok(workers)
}

/// The worker that is meant by an id or a name.
fn only(workers: Vec<WorkerStatus>, wanted: &str) -> Result<WorkerStatus, Failure> {
    let is_meant = |worker: &WorkerStatus| worker.id.to_string() == wanted || worker.name == wanted;
    let (mut meant, others): (Vec<_>, Vec<_>) = workers.into_iter().partition(is_meant);
    match (meant.pop(), meant.as_slice()) {
        (Some(worker), []) => Ok(worker),
        (Some(_), _) => Err(Failure::mistake(format!("several workers are called '{wanted}'"))
            .help("name the one that is meant by its id, as keyloom workers shows it")),
        (None, _) => {
            let mut known: Vec<_> = others.into_iter().map(|worker| worker.name).collect();
            known.sort();
            Err(Failure::mistake(match known.as_slice() {
                [] => format!("there is no worker '{wanted}', nor any other"),
                known => format!("there is no worker '{wanted}'; there are: {}", known.join(", ")),
            }))
        }
    }
}

/// A worker as `--format json` shows it.
#[derive(Debug, Serialize)]
struct Worker {
    id: String,
    name: String,
    slots: u32,
    running: u32,
    draining: bool,
}

impl From<WorkerStatus> for Worker {
    fn from(status: WorkerStatus) -> Self {
        let WorkerStatus { id, name, slots, running, draining } = status;
        Self { id: id.to_string(), name, slots, running, draining }
    }
}

fn json(workers: Vec<WorkerStatus>) -> String {
    let workers: Vec<_> = workers.into_iter().map(Worker::from).collect();
    // A tree of numbers and strings can always be written.
    serde_json::to_string(&workers).unwrap_or_default()
}

/// Workers as a list for people.
pub(crate) fn in_columns(workers: Vec<WorkerStatus>) -> String {
    let row = |worker: WorkerStatus| {
        let WorkerStatus { id, name, slots, running, draining } = worker;
        let state = if draining { "draining" } else { "ready" };
        [id.to_string(), name, slots.to_string(), running.to_string(), state.to_owned()]
    };
    columns(["ID", "NAME", "SLOTS", "RUNNING", "STATE"], workers.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use keyloom_common::WorkerId;

    use super::*;

    fn worker(id: u128, name: &str) -> WorkerStatus {
        let (id, name) = (WorkerId::from_u128(id), name.to_owned());
        WorkerStatus { id, name, slots: 2, running: 1, draining: false }
    }

    #[test]
    fn a_worker_is_meant_by_its_id_or_its_name() {
        let workers = || vec![worker(1, "a"), worker(2, "b"), worker(3, "b")];
        let meant = |wanted: &str| only(workers(), wanted).map_err(|failure| failure.message);
        assert_eq!(meant("a").unwrap().id, WorkerId::from_u128(1));
        assert_eq!(meant(&WorkerId::from_u128(3).to_string()).unwrap().name, "b");
        let refused = |wanted: &str| meant(wanted).unwrap_err().unwrap_or_default();
        assert_eq!(refused("b"), "several workers are called 'b'");
        assert_eq!(refused("c"), "there is no worker 'c'; there are: a, b, b");
    }
}
