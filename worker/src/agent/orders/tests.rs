//! What an attempt says before its end.

use keyloom_common::{BlobId, JobId, StageId, TaskId, rpc::Work};
use tokio::sync::mpsc;

use super::*;
use crate::{
    agent::{Dial, testing::FakeCoordinator},
    settings::Settings,
    task::TasksShared,
};

#[tokio::test]
async fn an_attempt_that_has_computed_all_has_no_slot_any_more_and_says_so() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let coordinator = FakeCoordinator { computed: Some(tell), ..FakeCoordinator::default() };
    let client = coordinator.dial().await.unwrap();
    let settings = Settings::default();
    let dial: Arc<dyn Dial> = Arc::new(coordinator);
    let blobs = Arc::new(CoordinatorBlobs::new(dial, settings.rpc.clone()));
    let shared = TasksShared::new(settings, Arc::clone(&blobs) as _).unwrap();
    let tasks = Tasks::new(shared, blobs, false);
    let stage = StageId { job: JobId::new(), index: 0 };
    let id = AttemptId { task: TaskId { stage, index: 3 }, number: 0 };
    let meter = Arc::clone(tasks.meter());
    let attempt = Attempt {
        worker: WorkerId::new(),
        running: Running::default(),
        client,
        tasks,
        timeout: Duration::from_secs(60),
    };
    let mut counted = meter.begin(&Work::Shuffle {
        plan: BlobId::of(b"plan"),
        peers: Vec::new(),
        batch_rows: 1,
        discard: true,
    });
    let computed = CancellationToken::new();
    {
        let mut slot = pin!(attempt.give_slot_back(id, &computed, &mut counted));
        let taken = || meter.free_and_taken().1;
        tokio::select! {
            biased;
            never = &mut slot => match never {},
            () = std::future::ready(()) => assert_eq!(taken(), 1, "it computes"),
        }
        computed.cancel();
        tokio::select! {
            never = &mut slot => match never {},
            told = told.recv() => assert_eq!(told, Some(id)),
        }
    }
    assert_eq!(meter.free_and_taken().1, 0);
}
