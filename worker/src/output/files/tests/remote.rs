//! Files in an object store, which are uploads until the commit.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::TryStreamExt;
use keyloom_common::input::Location;
use object_store::{
    MultipartId, ObjectStore, ObjectStoreExt, PutPayload, PutResult,
    memory::InMemory,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::sync::{Semaphore, oneshot};

use super::{
    staged::{Record, Staged},
    *,
};
use crate::object_stores::Opened;

/// An object store in memory that passes for a bucket, and outputs to it in parts of ten bytes.
fn remote() -> (Arc<InMemory>, FileOutputs) {
    let memory = Arc::new(InMemory::new());
    let uploads: Arc<dyn MultipartStore> = Arc::<InMemory>::clone(&memory);
    let outputs = remote_by(&memory, uploads);
    (memory, outputs)
}

/// The same, whose uploads go another way.
fn remote_by(memory: &Arc<InMemory>, uploads: Arc<dyn MultipartStore>) -> FileOutputs {
    let stores = stores();
    let location = Location { url: "s3://bucket/".to_owned(), profile: None };
    let store: Arc<dyn ObjectStore> = Arc::<InMemory>::clone(memory);
    stores.hold(location, Opened { store, uploads: Some(uploads) });
    let settings = OutputSettings { part_bytes: 10, ..OutputSettings::default() };
    outputs_of(&stores, settings)
}

/// Uploads that are begun, and of which that is told when it may be.
struct Late {
    memory: Arc<InMemory>,
    answers: Semaphore,
    begun: AtomicUsize,
    aborted: AtomicUsize,
}

#[async_trait]
impl MultipartStore for Late {
    async fn create_multipart(&self, path: &Path) -> object_store::Result<MultipartId> {
        let id = self.memory.create_multipart(path).await?;
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _answer = self.answers.acquire().await.unwrap();
        Ok(id)
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        data: PutPayload,
    ) -> object_store::Result<PartId> {
        self.memory.put_part(path, id, part, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> object_store::Result<PutResult> {
        self.memory.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> object_store::Result<()> {
        self.memory.abort_multipart(path, id).await?;
        self.aborted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn names(store: &InMemory) -> Vec<String> {
    let listed = store.list(None).map_ok(|found| found.location.to_string());
    let mut names: Vec<_> = listed.try_collect().await.unwrap();
    names.sort_unstable();
    names
}

async fn read(store: &InMemory, name: &str) -> String {
    let found = store.get(&Path::from(name)).await.unwrap().bytes().await.unwrap();
    String::from_utf8(found.to_vec()).unwrap()
}

async fn prepared(outputs: &FileOutputs, if_exists: IfExists) -> PreparedOutput {
    let target_file_bytes = 40_000;
    let files = FilesOutput { if_exists, target_file_bytes, ..files(FileFormat::Csv) };
    let (spec, schema) = (spec("s3://bucket/out/", files), numbers([1]).schema());
    outputs.prepare(PlannedOutput { spec, schema }).await.unwrap()
}

fn text(values: std::ops::Range<i64>) -> String {
    let lines: String = values.map(|value| format!("{value}\n")).collect();
    format!("n\n{lines}")
}

const NAME: &str = "out/part-00000-000000-01234567-0000-0000-0000-000000000000.csv";

#[tokio::test]
async fn uploads_in_parts_are_seen_with_the_commit_and_not_before() {
    let (store, outputs) = remote();
    let output = prepared(&outputs, IfExists::Error).await;
    let pieces = write(&outputs, &output, attempt(JOB, 0), &[numbers(0..1000)]).await.unwrap();
    let hidden = names(&store).await;
    assert!(hidden.iter().all(|name| name.starts_with("out/.keyloom/")), "{hidden:?}");
    for _ in 0..2 {
        let done = outputs.commit(written(JOB, &output, pieces.clone())).await.unwrap();
        assert_eq!((done.rows, done.files), (1000, 1));
        let manifest = format!("out/{}", manifest::name(JOB));
        assert_eq!(names(&store).await, ["out/_SUCCESS", &manifest, NAME]);
        assert_eq!(read(&store, NAME).await, text(0..1000));
    }
    // Without the last step, the file itself says that it is there.
    store.delete(&Path::from("out/_SUCCESS")).await.unwrap();
    outputs.commit(written(JOB, &output, pieces)).await.unwrap();
    assert_eq!(read(&store, "out/_SUCCESS").await, format!("{JOB}\n"));
}

#[tokio::test]
async fn an_upload_that_is_completed_although_its_answer_was_lost_is_no_error() {
    let (store, outputs) = remote();
    let output = prepared(&outputs, IfExists::Error).await;
    let pieces = numbered(&outputs, &output, 2).await;
    // The manifest decides whether the folder is in use, and it was written before.
    let token = Token::read(&pieces[0], JOB).unwrap();
    write_manifest(&outputs, &output).await;
    let Staged::Upload { id, parts, .. } = token.staged else { panic!("it is remote") };
    let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
    store.complete_multipart(&Path::from(NAME), &id, parts).await.unwrap();
    outputs.commit(written(JOB, &output, pieces)).await.unwrap();
    assert_eq!(read(&store, NAME).await, "n\n0\n");
    assert_eq!(
        read(&store, "out/part-00001-000000-01234567-0000-0000-0000-000000000000.csv").await,
        "n\n1\n"
    );
}

#[tokio::test]
async fn overwrite_replaces_and_uploads_that_nobody_told_of_are_aborted() {
    let (store, outputs) = remote();
    store.put(&Path::from("out/old.csv"), "old".into()).await.unwrap();
    store.put(&Path::from("outer.csv"), "stays".into()).await.unwrap();
    let output = prepared(&outputs, IfExists::Overwrite).await;
    let rows = [numbers([1])];
    // An attempt that was not accepted, or whose worker was killed.
    write(&outputs, &output, attempt(JOB, 0), &rows).await.unwrap();
    let record: Record =
        serde_json::from_str(&read(&store, &names(&store).await[0]).await).unwrap();
    let pieces = write(&outputs, &output, attempt(JOB, 0), &rows).await.unwrap();
    outputs.commit(written(JOB, &output, pieces)).await.unwrap();
    let manifest = format!("out/{}", manifest::name(JOB));
    assert_eq!(names(&store).await, ["out/_SUCCESS", &manifest, NAME, "outer.csv"]);
    let gone = store.abort_multipart(&Path::from(record.path), &record.id).await;
    assert!(gone.is_err(), "it was not aborted");
}

#[tokio::test]
async fn a_job_that_is_given_up_leaves_nothing_whoever_tells_of_it() {
    for told in [true, false] {
        let (store, outputs) = remote();
        let output = prepared(&outputs, IfExists::Append).await;
        let rows = [numbers([1])];
        let pieces = write(&outputs, &output, attempt(JOB, 0), &rows).await.unwrap();
        let told = if told { pieces.clone() } else { Vec::new() };
        for _ in 0..2 {
            outputs.abort(written(JOB, &output, told.clone())).await.unwrap();
            assert_eq!(names(&store).await, Vec::<String>::new());
        }
        let error = outputs.commit(written(JOB, &output, pieces)).await.unwrap_err();
        assert!(error.message().contains(NAME), "{error}");
    }
}

#[tokio::test]
async fn an_upload_without_its_record_is_missed_before_anything_is_seen() {
    let (store, outputs) = remote();
    let output = prepared(&outputs, IfExists::Append).await;
    let mut pieces = numbered(&outputs, &output, 3).await;
    let told = || written(JOB, &output, pieces.clone());
    assert_eq!(outputs.gone(told()).await.unwrap(), Vec::<usize>::new());
    let token = Token::read(&pieces[1], JOB).unwrap();
    let Staged::Upload { record, .. } = &token.staged else { panic!("it is remote") };
    store.delete(&Path::from(format!("out/{record}"))).await.unwrap();
    assert_eq!(outputs.gone(told()).await.unwrap(), [1]);
    let error = outputs.commit(told()).await.unwrap_err();
    assert_eq!(error.kind(), keyloom_common::ErrorKind::NotFound);
    assert!(error.message().contains(&token.path), "{error}");
    let hidden = names(&store).await;
    assert!(hidden.iter().all(|name| name.starts_with("out/.keyloom/")), "{hidden:?}");
    // Written again, it is committed with the others.
    let again = AttemptId { number: 7, ..attempt(JOB, 1) };
    let rows = [numbers([1])];
    pieces[1] = write(&outputs, &output, again, &rows).await.unwrap().remove(0);
    let told = || written(JOB, &output, pieces.clone());
    let done = outputs.commit(told()).await.unwrap();
    assert_eq!((done.rows, done.files), (3, 3));
    assert_eq!(outputs.gone(told()).await.unwrap(), Vec::<usize>::new());
}

#[tokio::test]
async fn a_stream_that_is_dropped_aborts_its_uploads() {
    let (store, outputs) = remote();
    let output = prepared(&outputs, IfExists::Append).await;
    let node = node(&output);
    let first = stream::once(async { Ok(numbers([1])) });
    let rows = rows_of(&output.schema, first.chain(stream::pending()));
    let writing =
        Writing { attempt: attempt(JOB, 0), node: &node, computed: &CancellationToken::new() };
    let mut dropped = outputs.write(writing, rows).unwrap();
    tokio::select! {
        told = dropped.next() => panic!("it ended: {told:?}"),
        () = until(async || !names(&store).await.is_empty()) => {}
    }
    let record: Record =
        serde_json::from_str(&read(&store, &names(&store).await[0]).await).unwrap();
    drop(dropped);
    until(async || names(&store).await.is_empty()).await;
    let gone = store.abort_multipart(&Path::from(record.path), &record.id).await;
    assert!(gone.is_err(), "it was not aborted");
}

#[tokio::test]
async fn an_upload_that_begins_when_nobody_waits_for_it_is_aborted() {
    let memory = Arc::new(InMemory::new());
    let late = Arc::new(Late {
        memory: Arc::clone(&memory),
        answers: Semaphore::new(0),
        begun: AtomicUsize::new(0),
        aborted: AtomicUsize::new(0),
    });
    let uploads: Arc<dyn MultipartStore> = Arc::<Late>::clone(&late);
    let outputs = remote_by(&memory, uploads);
    let output = prepared(&outputs, IfExists::Append).await;
    let node = node(&output);
    let rows = rows_of(&output.schema, stream::iter([Ok(numbers([1]))]));
    let writing =
        Writing { attempt: attempt(JOB, 0), node: &node, computed: &CancellationToken::new() };
    let mut dropped = outputs.write(writing, rows).unwrap();
    tokio::select! {
        told = dropped.next() => panic!("it ended: {told:?}"),
        () = until(async || late.begun.load(Ordering::SeqCst) == 1) => {}
    }
    drop(dropped);
    late.answers.add_permits(1);
    until(async || late.aborted.load(Ordering::SeqCst) == 1).await;
    until(async || names(&memory).await.is_empty()).await;
}

/// Uploads whose parts arrive when they are told to, in whatever order.
#[derive(Default)]
struct Told {
    memory: Arc<InMemory>,
    /// Parts that are on their way, by their numbers.
    waiting: Mutex<BTreeMap<usize, oneshot::Sender<()>>>,
    arrived: Mutex<BTreeMap<usize, PutPayload>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    /// How many parts were on their way when an upload was aborted.
    aborted_with: Mutex<Vec<usize>>,
}

/// A part that is on its way.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Told {
    /// Has the last part arrive of those that are on their way, as soon as there are so many.
    async fn deliver_last_of(&self, parts: usize) {
        until(async || self.waiting.lock().unwrap().len() == parts).await;
        let (_, arrive) = self.waiting.lock().unwrap().pop_last().unwrap();
        arrive.send(()).unwrap();
    }
}

#[async_trait]
impl MultipartStore for Told {
    async fn create_multipart(&self, path: &Path) -> object_store::Result<MultipartId> {
        self.memory.create_multipart(path).await
    }

    async fn put_part(
        &self,
        _: &Path,
        _: &MultipartId,
        part: usize,
        data: PutPayload,
    ) -> object_store::Result<PartId> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        let _under_way = UnderWay(&self.under_way);
        self.most.fetch_max(under_way, Ordering::SeqCst);
        let (arrive, arrives) = oneshot::channel();
        self.waiting.lock().unwrap().insert(part, arrive);
        let lost = |source| object_store::Error::Generic { store: "told", source };
        arrives.await.map_err(|error| lost(error.into()))?;
        self.arrived.lock().unwrap().insert(part, data);
        Ok(PartId { content_id: part.to_string() })
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> object_store::Result<PutResult> {
        let arrived = self.arrived.lock().unwrap().clone();
        let names = parts.into_iter().map(|part| part.content_id);
        assert!(names.eq(arrived.keys().map(usize::to_string)));
        self.memory.abort_multipart(path, id).await?;
        let bytes = arrived.values().flat_map(PutPayload::iter).cloned();
        self.memory.put(path, PutPayload::from_iter(bytes)).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> object_store::Result<()> {
        let under_way = self.under_way.load(Ordering::SeqCst);
        self.aborted_with.lock().unwrap().push(under_way);
        self.memory.abort_multipart(path, id).await
    }
}

fn told() -> (Arc<Told>, FileOutputs) {
    let told = Arc::new(Told::default());
    let uploads: Arc<dyn MultipartStore> = Arc::<Told>::clone(&told);
    let outputs = remote_by(&told.memory, uploads);
    (told, outputs)
}

#[tokio::test]
async fn as_many_parts_are_on_their_way_as_may_be_and_stand_in_their_order() {
    const AT_ONCE: usize = 4;
    let (told, outputs) = told();
    let output = prepared(&outputs, IfExists::Error).await;
    let parts = text(0..100).len().div_ceil(10);
    let arriving = async {
        for left in (1..=parts).rev() {
            told.deliver_last_of(left.min(AT_ONCE)).await;
        }
    };
    let rows = [numbers(0..100)];
    let (pieces, ()) = tokio::join!(write(&outputs, &output, attempt(JOB, 0), &rows), arriving);
    assert_eq!(told.most.load(Ordering::SeqCst), AT_ONCE);
    outputs.commit(written(JOB, &output, pieces.unwrap())).await.unwrap();
    assert_eq!(read(&told.memory, NAME).await, text(0..100));
}

#[tokio::test]
async fn parts_that_are_on_their_way_end_before_their_upload_is_aborted() {
    let (told, outputs) = told();
    let output = prepared(&outputs, IfExists::Append).await;
    let rows = [numbers(0..100)];
    {
        let mut writing = std::pin::pin!(write(&outputs, &output, attempt(JOB, 0), &rows));
        tokio::select! {
            ended = &mut writing => panic!("it ended: {ended:?}"),
            () = until(async || told.under_way.load(Ordering::SeqCst) == 4) => {}
        }
    }
    until(async || names(&told.memory).await.is_empty()).await;
    assert_eq!(*told.aborted_with.lock().unwrap(), [0]);
}

#[tokio::test]
async fn a_task_has_computed_what_it_writes_before_that_is_stored() {
    let (told, outputs) = told();
    let output = prepared(&outputs, IfExists::Append).await;
    let (rows, computed) = ([numbers(0..3)], CancellationToken::new());
    let id = attempt(JOB, 0);
    let mut writing = std::pin::pin!(write_and_say(&outputs, &output, id, &rows, &computed));
    tokio::select! {
        ended = &mut writing => panic!("it ended: {ended:?}"),
        () = computed.cancelled() => {}
    }
    let arriving = told.deliver_last_of(1);
    let (pieces, ()) = tokio::join!(writing, arriving);
    outputs.commit(written(JOB, &output, pieces.unwrap())).await.unwrap();
    assert_eq!(read(&told.memory, NAME).await, text(0..3));
}

#[tokio::test]
async fn a_part_that_does_not_arrive_fails_its_file_by_name() {
    let (told, outputs) = told();
    let output = prepared(&outputs, IfExists::Append).await;
    let losing = async {
        until(async || told.waiting.lock().unwrap().len() == 4).await;
        let lost = told.waiting.lock().unwrap().pop_first();
        drop(lost);
    };
    let rows = [numbers(0..100)];
    let (written, ()) = tokio::join!(write(&outputs, &output, attempt(JOB, 0), &rows), losing);
    let error = written.unwrap_err();
    assert!(error.message().contains(NAME), "{error}");
    until(async || names(&told.memory).await.is_empty()).await;
    assert_eq!(*told.aborted_with.lock().unwrap(), [0]);
}
