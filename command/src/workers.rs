//! `keyloom workers`: who is registered with a coordinator.

use keyloom_client::report::WorkerStatus;
use serde::Serialize;

use crate::{
    cli::{Form, Place, WorkersArguments},
    error::Failure,
    open, text,
    watch::Watch,
};

/// Lists the workers of a cluster.
pub(crate) async fn list(arguments: WorkersArguments, watch: &Watch) -> Result<(), Failure> {
    let WorkersArguments { cluster, config, security, print } = arguments;
    let place = Place { cluster: None, workers: None, config, security };
    let (settings, _) = open::layered(&place)?;
    let session = open::connect(&cluster, settings.session, watch).await?;
    let workers = watch.step(session.workers()).await?;
    let workers: Vec<Worker> = workers.into_iter().map(Worker::from).collect();
    watch.end();
    match print.format {
        // A tree of numbers and strings can always be written.
        Form::Json => text::print(&serde_json::to_string(&workers).unwrap_or_default()),
        Form::Table if workers.is_empty() => text::print("no worker is registered"),
        Form::Table => text::print(&table(&workers)),
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

fn table(workers: &[Worker]) -> String {
    let names = workers.iter().map(|worker| worker.name.chars().count());
    let width = names.max().unwrap_or_default().max("NAME".len());
    let mut lines = vec![format!("{:36}  {:width$}  SLOTS  RUNNING  STATE", "ID", "NAME")];
    for Worker { id, name, slots, running, draining } in workers {
        let state = if *draining { "draining" } else { "ready" };
        lines.push(format!("{id:36}  {name:width$}  {slots:>5}  {running:>7}  {state}"));
    }
    lines.join("\n")
}
