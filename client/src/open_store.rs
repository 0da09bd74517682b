//! Stores that answer by themselves: arrays of keys in, arrays of answers out, without a query.
//!
//! A session that is its own cluster asks the store in this process, through the same handle as its
//! tasks; on a cluster, each lookup is a job. Every lookup reads the snapshot that the store had
//! when it was opened.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, new_empty_array},
    compute::concat,
    datatypes::{Field, SchemaRef},
};
use datafusion::physical_expr::expressions::Column;
use keyloom_common::{
    Error, Result,
    functions::{CallOptions, Function, KvCall, KvFunction},
    lookup::{Answer, Call, Fetch},
    store::{Access, AttachedStore, KeyColumns, Snapshot},
};
use keyloom_planner::set_access;
use tokio::sync::OnceCell;

use crate::{
    functions::Key,
    peer::{LocalStore, LocalWorkers},
    session::Session,
};

/// What the column of keys and that of answers are called where they need a name.
const KEYS: &str = "keys";

/// An open store of a session.
#[derive(Clone, Debug)]
pub struct OpenStore {
    session: Session,
    store: Arc<AttachedStore>,
}

impl OpenStore {
    pub(crate) fn new(session: Session, store: Arc<AttachedStore>) -> Self {
        Self { session, store }
    }

    /// The store's columns.
    pub fn schema(&self) -> &SchemaRef {
        self.store.schema()
    }

    /// The version of a Lance dataset; none of what has no versions.
    pub fn version(&self) -> Option<u64> {
        match self.store.description.snapshot {
            Snapshot::Version { number, .. } => Some(number),
            Snapshot::Immutable | Snapshot::Live => None,
        }
    }

    /// Prepares one of the functions for many calls. `key` names the store's columns that are
    /// looked up, if neither its options nor the dataset do.
    ///
    /// # Errors
    /// `invalid` if the store has no such columns, `batch_size` is 0, nothing says what its key is,
    /// or there is a bound on missing keys.
    pub fn prepare(
        &self,
        function: Function,
        options: CallOptions,
        key: Option<&KeyColumns>,
    ) -> Result<Lookup> {
        if options.on_error.max_misses().is_some() {
            return Err(Error::invalid(
                "max_misses is for queries; a store that is asked by itself takes on_error",
            ));
        }
        let call = KvCall::try_new(function, function.resolve(&self.store, key)?, options)?;
        let fetch = fetch(&call);
        let session = self.session.clone();
        Ok(Lookup { session, call, fetch, asked: AtomicU64::new(0), here: OnceCell::new() })
    }
}

/// One of the functions on one store.
#[derive(Debug)]
pub struct Lookup {
    session: Session,
    call: KvCall,
    fetch: Fetch,
    /// Keys asked so far: the more, the more it is worth to keep of the store in memory.
    asked: AtomicU64,
    /// The store itself, if it is open in this process.
    here: OnceCell<Box<dyn LocalStore>>,
}

impl Lookup {
    /// The answers for an array of keys, or of lists of keys for `kv_batch_get`: what a query would
    /// give for a column of them.
    ///
    /// # Errors
    /// As a query; nothing is looked up if the keys are not of a type that the store can be asked
    /// for.
    pub async fn answers(&self, keys: &ArrayRef) -> Result<ArrayRef> {
        let field = Field::new(KEYS, keys.data_type().clone(), true);
        let answer = self.call.return_type(&field)?;
        if keys.is_empty() {
            return Ok(new_empty_array(&answer));
        }
        match self.session.link().connection.local_workers() {
            Some(workers) => {
                // What a store keeps open belongs to the runtime that its session's tasks share.
                let answers = async {
                    let store = self.here.get_or_try_init(|| self.open(workers)).await?;
                    store.answers(Arc::new(self.fetch(keys.len())), keys).await
                };
                self.session.link().connection.within(answers).await
            }
            None => self.query(keys).await,
        }
    }

    async fn open(&self, workers: &dyn LocalWorkers) -> Result<Box<dyn LocalStore>> {
        let store = self.call.store();
        if let Some(content) = store.spec.content {
            let link = self.session.link();
            let bytes = link.contents.get(content)?;
            link.connection.ensure_blob(content, &bytes).await?;
        }
        workers.open(store).await
    }

    /// The fetch, with a way to the rows that is worth it for the keys asked so far.
    fn fetch(&self, keys: usize) -> Fetch {
        let before = self.asked.fetch_add(keys as u64, Ordering::Relaxed);
        let mut fetch = self.fetch.clone();
        set_access(&mut fetch, Some(before + keys as u64));
        fetch
    }

    /// The answers of a job.
    async fn query(&self, keys: &ArrayRef) -> Result<ArrayRef> {
        let batch = RecordBatch::try_from_iter_with_nullable([(KEYS, Arc::clone(keys), true)])?;
        let expr = KvFunction::expr(self.call.clone(), Key::from(KEYS).into_expr());
        let query = self.session.from_batches(&[batch])?.select(vec![expr.alias(KEYS)])?;
        let batches = self.session.submit(query).await?.collect().await?;
        let answers: Vec<&dyn Array> =
            batches.iter().map(|batch| batch.column(0).as_ref()).collect();
        match answers.as_slice() {
            [] => Err(Error::internal("a lookup of keys has no answers")),
            answers => Ok(concat(answers)?),
        }
    }
}

fn fetch(call: &KvCall) -> Fetch {
    let answer = match call.function() {
        Function::Exists => Answer::Exists,
        Function::Get | Function::BatchGet => {
            Answer::Row { columns: call.column_indices(), on_error: call.on_error() }
        }
        Function::GetAll => {
            Answer::All { columns: call.column_indices(), on_error: call.on_error() }
        }
    };
    Fetch {
        store: Arc::clone(call.store()),
        key: Arc::new(Column::new(KEYS, 0)),
        calls: vec![Call { name: KEYS.to_owned(), answer, guard: None }],
        batch_size: call.batch_size(),
        access: Access::default(),
        reason: None,
        joined: None,
        key_set: None,
    }
}
