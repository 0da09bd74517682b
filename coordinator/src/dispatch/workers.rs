//! The one table of what is kept of registered workers beside the scheduler's own state: what each
//! is called, the orders on their way to it, and how many of its attempts wait for memory.
//!
//! Whoever registers a worker puts it in, so that its first question for orders finds it. The
//! scheduler alone says when it is gone: then all of it goes at once.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use keyloom_common::{
    Error, Result, WorkerId,
    rpc::{Identity, Order, WorkerInfo},
};
use tokio::sync::mpsc;

use super::outbox::Outbox;

/// A registered worker, or one that was registered when somebody asked.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) info: WorkerInfo,
    /// How many of its attempts wait for memory.
    waiting: AtomicUsize,
    /// Whether it was told to go.
    leaving: AtomicBool,
}

impl Worker {
    pub(super) fn new(info: WorkerInfo) -> Arc<Self> {
        Arc::new(Self { info, waiting: AtomicUsize::new(0), leaving: AtomicBool::new(false) })
    }

    pub(super) fn id(&self) -> WorkerId {
        self.info.id
    }

    /// Whether it was told to go, and drains as soon as it hears of it.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// How many of its attempts wait for memory. Who changes it holds the lock of all outputs.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn begin_waiting(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_waiting(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All registered workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    by_id: Mutex<HashMap<WorkerId, Registered>>,
    /// How many of them take tasks, as the scheduler said last.
    available: AtomicU32,
    /// How many of those shuffle.
    shufflers: AtomicUsize,
}

#[derive(Debug)]
struct Registered {
    worker: Arc<Worker>,
    /// Who registered it: nobody else may speak for it.
    whose: Identity,
    /// Orders go in here and out by the outbox. When this is dropped, the outbox runs empty and
    /// ends.
    orders: mpsc::UnboundedSender<Order>,
    /// A worker registers on one connection and asks for orders on another.
    outbox: Arc<tokio::sync::Mutex<Outbox>>,
}

impl Workers {
    /// Puts in a worker, with no orders yet.
    ///
    /// # Errors
    /// `unavailable` if one of its id is there: ids are drawn anew for each registration.
    pub(super) fn join(&self, info: WorkerInfo, whose: &Identity) -> Result<()> {
        match self.lock().entry(info.id) {
            Entry::Occupied(_) => {
                Err(Error::unavailable(format!("worker {} is registered already", info.id)))
            }
            Entry::Vacant(place) => {
                let (orders, receiver) = mpsc::unbounded_channel();
                let outbox = Arc::new(tokio::sync::Mutex::new(Outbox::new(receiver)));
                let (worker, whose) = (Worker::new(info), whose.clone());
                place.insert(Registered { worker, whose, orders, outbox });
                Ok(())
            }
        }
    }

    /// Refuses who speaks for a worker that somebody else registered. For one that is not there
    /// (any more) anybody may: what it says is late.
    ///
    /// # Errors
    /// `permission_denied`, naming the worker.
    pub(super) fn check(&self, id: WorkerId, speaks: &Identity) -> Result<()> {
        match self.lock().get(&id) {
            Some(registered) if registered.whose != *speaks => Err(Error::permission_denied(
                format!("worker {id} was registered by somebody else than {speaks}"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes out a worker and drops the orders that it has not heard.
    pub(super) fn remove(&self, id: WorkerId) -> Option<Arc<Worker>> {
        self.lock().remove(&id).map(|registered| registered.worker)
    }

    pub(super) fn get(&self, id: WorkerId) -> Option<Arc<Worker>> {
        self.lock().get(&id).map(|registered| Arc::clone(&registered.worker))
    }

    /// Puts an order on its way, and says whether the worker is there. One for a worker that is
    /// gone has no use.
    pub(super) fn order(&self, id: WorkerId, order: Order) -> bool {
        let workers = self.lock();
        let registered = workers.get(&id);
        if let Some(registered) = registered {
            if matches!(order, Order::Leave) {
                registered.worker.leaving.store(true, Ordering::Relaxed);
            }
            // A worker that hung up is reported lost by its connection.
            let _ = registered.orders.send(order);
        }
        registered.is_some()
    }

    /// Waits for orders for a worker, and gives as many as one answer of so many bytes holds, or
    /// one.
    ///
    /// # Errors
    /// `unavailable` if the worker is not registered, or not any more.
    pub(super) async fn orders(&self, id: WorkerId, max_bytes: usize) -> Result<Vec<Order>> {
        let outbox = self.lock().get(&id).map(|registered| Arc::clone(&registered.outbox));
        let outbox = outbox.ok_or_else(not_registered)?;
        let mut outbox = outbox.lock().await;
        outbox.next(max_bytes).await.ok_or_else(not_registered)
    }

    /// Notes how many workers take tasks.
    pub(super) fn set_available(&self, workers: usize) {
        self.available.store(u32::try_from(workers).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many workers take tasks.
    pub(super) fn available(&self) -> u32 {
        self.available.load(Ordering::Relaxed)
    }

    /// Notes how many of these shuffle.
    pub(super) fn set_shufflers(&self, workers: usize) {
        self.shufflers.store(workers, Ordering::Relaxed);
    }

    /// How many workers that take tasks shuffle.
    pub(super) fn shufflers(&self) -> usize {
        self.shufflers.load(Ordering::Relaxed)
    }

    /// Where those of these workers are reached that can shuffle, in this order.
    pub(super) fn shuffle_at(&self, workers: &[WorkerId]) -> Vec<String> {
        let by_id = self.lock();
        let of = |id: &WorkerId| by_id.get(id)?.worker.info.shuffle.clone();
        workers.iter().filter_map(of).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Registered>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_registered() -> Error {
    Error::unavailable("the worker is not registered (any more)")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use keyloom_common::{AttemptId, ErrorKind, JobId, StageId, TaskId, rpc::Role};

    use super::*;

    fn info() -> WorkerInfo {
        WorkerInfo { id: WorkerId::new(), name: "w".to_owned(), slots: 1, shuffle: None }
    }

    fn named(name: &str) -> Identity {
        Identity { role: Role::Worker, name: name.into() }
    }

    fn own() -> Identity {
        named("w")
    }

    fn stop(number: u32) -> Order {
        let stage = StageId { job: JobId::new(), index: 0 };
        Order::Stop(AttemptId { task: TaskId { stage, index: 0 }, number })
    }

    fn numbers(orders: Vec<Order>) -> Vec<u32> {
        let number = |order| match order {
            Order::Stop(attempt) => attempt.number,
            Order::Start(assignment) => assignment.attempt.number,
            Order::Leave => u32::MAX,
        };
        orders.into_iter().map(number).collect()
    }

    #[tokio::test]
    async fn orders_come_in_turn_and_none_is_lost_that_does_not_fit() {
        let (workers, info) = (Workers::default(), info());
        workers.join(info.clone(), &own()).unwrap();
        assert!((0..3).all(|number| workers.order(info.id, stop(number))));
        assert_eq!(numbers(workers.orders(info.id, 600).await.unwrap()), [0, 1]);
        workers.order(info.id, stop(3));
        assert_eq!(numbers(workers.orders(info.id, 0).await.unwrap()), [2]);
        assert_eq!(numbers(workers.orders(info.id, 600).await.unwrap()), [3]);
        assert!(workers.orders(info.id, 600).now_or_never().is_none(), "there are none");
    }

    #[tokio::test]
    async fn a_worker_that_is_gone_hears_it_whether_it_waits_or_asks() {
        let (workers, info) = (Workers::default(), info());
        workers.join(info.clone(), &own()).unwrap();
        let mut waiting = Box::pin(workers.orders(info.id, 600));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(workers.remove(info.id).unwrap().id(), info.id);
        assert_eq!(waiting.await.unwrap_err().kind(), ErrorKind::Unavailable);
        let asked = workers.orders(info.id, 600).await;
        assert_eq!(asked.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(workers.remove(info.id).is_none() && workers.get(info.id).is_none());
        assert!(!workers.order(info.id, Order::Leave));
    }

    #[test]
    fn a_worker_that_was_told_to_go_is_known_to_leave_before_it_has_heard_of_it() {
        let (workers, info) = (Workers::default(), info());
        workers.join(info.clone(), &own()).unwrap();
        let worker = workers.get(info.id).unwrap();
        workers.order(info.id, stop(0));
        assert!(!worker.is_leaving());
        workers.order(info.id, Order::Leave);
        assert!(worker.is_leaving());
    }

    #[test]
    fn a_life_registers_once() {
        let (workers, info) = (Workers::default(), info());
        workers.join(info.clone(), &own()).unwrap();
        assert_eq!(workers.join(info.clone(), &own()).unwrap_err().kind(), ErrorKind::Unavailable);
        workers.remove(info.id).unwrap();
        workers.join(info, &own()).unwrap();
    }

    #[test]
    fn those_who_can_shuffle_say_where() {
        let workers = Workers::default();
        let [one, two, three] = [1, 2, 3].map(WorkerId::from_u128);
        assert_eq!(workers.shuffle_at(&[one]), [""; 0]);
        let with = |id, address: Option<&str>| {
            let shuffle = address.map(ToOwned::to_owned);
            WorkerInfo { id: WorkerId::from_u128(id), shuffle, ..info() }
        };
        let all = [with(2, Some("tcp://b:1")), with(3, None), with(1, Some("tcp://a:1"))];
        for info in &all {
            workers.join(info.clone(), &own()).unwrap();
        }
        assert_eq!(workers.shuffle_at(&[two, three, one]), ["tcp://b:1", "tcp://a:1"]);
        workers.remove(two).unwrap();
        assert_eq!(workers.shuffle_at(&[two, one]), ["tcp://a:1"]);
    }

    #[test]
    fn nobody_speaks_for_a_worker_but_who_registered_it() {
        let (workers, info) = (Workers::default(), info());
        let id = info.id;
        assert_eq!(workers.check(id, &named("other")), Ok(()));
        workers.join(info, &own()).unwrap();
        assert_eq!(workers.check(id, &own()), Ok(()));
        let refused = workers.check(id, &named("other")).unwrap_err();
        let message = format!("worker {id} was registered by somebody else than worker 'other'");
        assert_eq!((refused.kind(), refused.message()), (ErrorKind::PermissionDenied, &*message));
        workers.remove(id).unwrap();
        assert_eq!(workers.check(id, &named("other")), Ok(()));
    }
}
