//! Encodings of all that processes say to each other, to be damaged.

use std::{slice::from_ref, sync::Arc};

use anyhow::Result;
use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
        FixedSizeListArray, Int32Array, Int64Array, Int64Builder, LargeListArray, LargeStringArray,
        ListArray, ListViewArray, MapBuilder, NullArray, RecordBatch, RunArray, StringArray,
        StringBuilder, StringViewArray, StructArray, TimestampSecondArray, UnionArray,
    },
    buffer::ScalarBuffer,
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, UnionFields},
};
use datafusion::{
    physical_plan::ExecutionPlan,
    physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner},
};
use keyloom_client::{MemoryOptions, Session, load_kv};
use keyloom_common::{
    AttemptId, BlobId, Error, JobId, StageId, TaskId, WorkerId,
    described::ClusterCatalog,
    fuzzing::{frame_of, message_of},
    input::{CsvOptions, Fingerprint, Format, InputSpec, Layout, Location},
    ipc::encode_all,
    misses::{FetchTally, LookupTally, MaxMisses, MissPolicy, Missed},
    plan::{
        FileSlice, FramePartition, InputScanExec, RowRange, ScanPartition, ScanTable, Slice,
        encode_plan,
    },
    report::{JobSummary, PlanMetrics, StoreProgress, TaskProgress},
    rpc::{
        Assignment, Chunk, ClientApiRequest, ClientApiResponse, Next, Order, TaskReport, Work,
        WorkerApiRequest, WorkerApiResponse,
    },
    store::{
        Figures, KeyColumns, KeyIndex, LANCE, LanceFigures, LanceWay, ManifestId, OnDuplicateKey,
        Options, Pin, STORAGE_OPTIONS, Snapshot, StoreDescription, StoreKey, StoreSpec,
    },
};
use keyloom_worker::fuzzing::figures_of;

use crate::harness::{batch, column, ints, strings};

/// A column of three rows of each kind of types.
fn columns() -> Vec<ArrayRef> {
    let numbers = || Int64Array::from(vec![Some(1), None, Some(3)]);
    let lists = || [Some(vec![Some(1), None]), None, Some(vec![])];
    let pairs = [Some([Some(1), None]), None, Some([None, Some(2)])];
    let words = || StringArray::from(vec![Some("one"), None, Some("three")]);
    let long = "a text that does not stand in its view";
    let dictionary: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 3]), &ints([7_i64, 8]));
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let structs = StructArray::from(vec![(field("n", DataType::Int64), column(numbers()))]);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for key in ["a", "b", "c"] {
        maps.keys().append_value(key);
        maps.values().append_value(1);
        maps.append(true).unwrap();
    }
    let kinds = [field("n", DataType::Int64), field("s", DataType::Utf8)];
    let kinds = UnionFields::try_new([0_i8, 1], kinds).unwrap();
    let which = ScalarBuffer::from(vec![0_i8, 1, 0]);
    let children = vec![column(numbers()), column(words())];
    let decimals = Decimal128Array::from(vec![Some(1), None, Some(3)]);
    let times = TimestampSecondArray::from(vec![Some(1), None, Some(3)]);
    let binary = FixedSizeBinaryArray::try_from_iter([[1_u8, 2], [3, 4], [5, 6]].into_iter());
    vec![
        column(numbers()),
        column(words()),
        column(LargeStringArray::from(vec![Some("one"), None, Some("three")])),
        column(StringViewArray::from(vec![Some(long), None, Some("short")])),
        column(BooleanArray::from(vec![Some(true), None, Some(false)])),
        column(NullArray::new(3)),
        column(binary.unwrap()),
        column(decimals.with_precision_and_scale(10, 2).unwrap()),
        column(times.with_timezone("+01:00")),
        column(ListArray::from_iter_primitive::<Int64Type, _, _>(lists())),
        column(LargeListArray::from_iter_primitive::<Int64Type, _, _>(lists())),
        column(ListViewArray::from_iter_primitive::<Int64Type, _, _>(lists())),
        column(FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(pairs, 2)),
        column(structs),
        column(maps.finish()),
        column(dictionary),
        column(runs.unwrap()),
        column(UnionArray::try_new(kinds, which, None, children).unwrap()),
    ]
}

/// A stream of each column, and one of all of them.
pub(super) fn streams() -> Vec<Vec<u8>> {
    let columns = columns();
    let stream = |columns: &[ArrayRef]| {
        let named = columns.iter().enumerate();
        let named = named.map(|(at, column)| (format!("c{at}"), Arc::clone(column), true));
        let batch = RecordBatch::try_from_iter_with_nullable(named).unwrap();
        encode_all(&batch.schema(), from_ref(&batch)).unwrap().to_vec()
    };
    columns.iter().map(from_ref).chain([&columns[..]]).map(stream).collect()
}

/// The last one names a file that is made for it.
const STATEMENTS: [&str; 6] = [
    "SELECT id, kv_get(kv_get(id)['parent'], on_error => 'null')['name'] AS name, CASE WHEN \
     kind = 'user' THEN kv_exists(other) END AS known FROM t WHERE kv_exists(id) AND other > 1",
    "SELECT id, row_number() OVER (PARTITION BY kind ORDER BY id) AS n FROM t",
    "SELECT id, make_array(1, 2, 3) AS l, named_struct('a', 1) AS s FROM t WHERE kind IN ('a')",
    "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v(n, s) JOIN t ON v.n = t.id",
    "SELECT kind, count(*) AS n, max(other) AS m FROM t GROUP BY kind ORDER BY m DESC LIMIT 3",
    "SELECT id, kv_get(id, on_error => 'null')['name'] AS name FROM lines WHERE n > 1",
];

/// So many plans are of no machine.
pub(super) const PLANS_ANYWHERE: usize = STATEMENTS.len();

/// Physical plans, as clients submit them: one of no statement, and those of the statements.
pub(super) async fn plans() -> Result<Vec<Vec<u8>>> {
    let session = Session::embedded().await?;
    let kinds = strings(["user", "item", "user"]);
    let table =
        [("id", ints(1_i64..4)), ("other", ints([Some(4_i64), None, Some(2)])), ("kind", kinds)];
    session.register_batches("t", &[batch(table)])?;
    let names = strings(["one", "two", "three"]);
    let store = [("key", ints(1_i64..4)), ("name", names), ("parent", ints([2_i64, 3, 1]))];
    session.attach(load_kv("items", MemoryOptions::batch(batch(store), "key"))?, "items").await?;
    session.set_kv("items")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lines.csv").to_string_lossy().into_owned();
    std::fs::write(&path, "id,n\n1,2\n2,3\n")?;
    session.register("lines", path.as_str()).await?;
    let mut plans = vec![scan()?];
    for sql in STATEMENTS {
        let (state, logical) = session.sql(sql).await?.into_parts();
        let logical = state.optimize(&logical)?;
        let planner = DefaultPhysicalPlanner::default();
        let plan = planner.create_physical_plan(&logical, &state).await?;
        plans.push(encode_plan(&plan)?.to_vec());
    }
    Ok(plans)
}

fn store() -> StoreSpec {
    let mut options = Options::default();
    options.set(STORAGE_OPTIONS, Some("west"));
    OnDuplicateKey::First.set(&mut options);
    StoreSpec {
        key: Some(StoreKey::Columns(KeyColumns::one("id"))),
        content: Some(BlobId::of(b"rows")),
        pin: Some(Pin::Tag("best".to_owned())),
        options,
        ..StoreSpec::new("items", LANCE, "s3://bucket/items.lance")
    }
}

fn description() -> StoreDescription {
    let id = Field::new("id", DataType::Int64, false);
    let names = Field::new("names", DataType::new_list(DataType::Utf8, true), true);
    StoreDescription {
        schema: Arc::new(Schema::new(vec![id, names])),
        snapshot: Snapshot::Version { number: 7, manifest: ManifestId::of(1, Some("transaction")) },
        figures: Some(Figures { rows: 1000, value_bytes: vec![8, 100], ..Figures::default() }),
        primary_key: Some(KeyColumns::one("id")),
        repeats_keys: true,
    }
}

fn input() -> InputSpec {
    InputSpec {
        path: "/data/*.csv".to_owned(),
        format: Some(Format::Csv),
        columns: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
        csv: CsvOptions::default(),
        given: vec!["header".to_owned()],
        infer_bytes: 1 << 20,
        storage_profile: None,
        hive_partitioning: true,
        pin: None,
        piece_bytes: 1 << 20,
    }
}

fn attempt() -> AttemptId {
    let stage = StageId { job: JobId::from_u128(1), index: 2 };
    AttemptId { task: TaskId { stage, index: 3 }, number: 4 }
}

/// What processes say to each other.
pub(super) struct Messages {
    of_client: Vec<ClientApiRequest>,
    to_client: Vec<ClientApiResponse>,
    of_worker: Vec<WorkerApiRequest>,
    to_worker: Vec<WorkerApiResponse>,
    pub(super) reports: Vec<TaskReport>,
}

impl Messages {
    /// What a coordinator is asked, and what it answers.
    pub(super) fn written(&self) -> Result<[Vec<Vec<u8>>; 2]> {
        let of_client = self.of_client.iter().map(message_of);
        let asked = of_client.chain(self.of_worker.iter().map(message_of));
        let to_client = self.to_client.iter().map(message_of);
        let answered = to_client.chain(self.to_worker.iter().map(message_of));
        Ok([asked.collect::<Result<_, Error>>()?, answered.collect::<Result<_, Error>>()?])
    }

    /// All of it as it is said on a connection.
    pub(super) fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let of_clients =
            self.of_client.iter().map(frame_of).chain(self.to_client.iter().map(frame_of));
        let of_workers =
            self.of_worker.iter().map(frame_of).chain(self.to_worker.iter().map(frame_of));
        let mut each: Vec<Vec<u8>> = of_clients.chain(of_workers).collect::<Result<_, Error>>()?;
        each.push(each.concat());
        Ok(each)
    }
}

/// Requests, answers and reports.
pub(super) fn messages() -> Messages {
    let (worker, attempt) = (WorkerId::from_u128(5), attempt());
    let chunk = || Chunk::from(bytes::Bytes::from(vec![7_u8; 100]));
    let known = Fingerprint([1; 32]);
    let id = BlobId::of(b"content");
    let of_client = vec![
        ClientApiRequest::PutBlob { id, offset: 0, total: 200, part: chunk() },
        ClientApiRequest::DescribeStore { spec: store() },
        ClientApiRequest::DescribeInput { spec: input(), known: Some(known) },
    ];
    let catalog = ClusterCatalog {
        stores: [("items".to_owned(), store())].into(),
        inputs: [("lines".to_owned(), input())].into(),
        only: true,
    };
    let to_client = vec![
        ClientApiResponse::Catalog(Ok(catalog)),
        ClientApiResponse::DescribeStore(Ok(description())),
        ClientApiResponse::Next(Ok(Next::Chunk { stream: 1, chunk: chunk() })),
        ClientApiResponse::Next(Ok(Next::Missed(chunk()))),
        ClientApiResponse::Next(Ok(Next::Done(JobSummary::default()))),
        ClientApiResponse::Submit(Err(Error::invalid("it is wrong"))),
    ];
    let mut told = FetchTally::new("items", [MaxMisses::Count(7), MaxMisses::Share(5)], 1 << 10);
    told.keep(Missed { row: 2, key: "seven".to_owned() }, 1 << 10);
    (0..3).for_each(|key| told.keys.add(key << 60));
    let lookups = vec![LookupTally { node: 1, rows: 3, fetches: vec![told] }];
    let metrics = PlanMetrics::default();
    let reports = vec![
        TaskReport::Store(description()),
        TaskReport::Rows { chunks: 1, rows: 3, metrics, lookups },
    ];
    let counted = StoreProgress { keys: 7, hits: 5, misses: 2 };
    let stores = [("items".to_owned(), counted)].into();
    let progress = TaskProgress { rows: 3, bytes: 100, thousandths: 30, stores };
    let mut of_worker = vec![
        WorkerApiRequest::Heartbeat {
            worker,
            attempts: vec![attempt; 3],
            progress: vec![(attempt, progress)],
        },
        WorkerApiRequest::Deliver { worker, attempt, sequence: 1, chunk: chunk() },
    ];
    let finish = |report: &TaskReport| WorkerApiRequest::Finish {
        worker,
        attempt,
        outcome: Ok(report.clone()),
    };
    of_worker.extend(reports.iter().map(finish));
    let assign = |work| Box::new(Assignment { attempt, work, trace: None });
    let describe_store = assign(Work::DescribeStore(store()));
    let describe_input = assign(Work::DescribeInput(input(), Some(known)));
    let slice = slices()[0].encode().unwrap().into();
    let misses = MissPolicy { max: Some(MaxMisses::Share(10_000)), keep: true };
    let fragment = Work::Fragment { plan: id, slice, batch_rows: 8192, discard: false, misses };
    let orders = vec![
        Order::Start(assign(fragment)),
        Order::Start(describe_store),
        Order::Start(describe_input),
        Order::Stop(attempt),
    ];
    let to_worker = vec![WorkerApiResponse::Orders(Ok(orders))];
    Messages { of_client, to_client, of_worker, to_worker, reports }
}

/// Parts of inputs that tasks read.
pub(super) fn slices() -> Vec<Slice> {
    let frame = FramePartition { blob: BlobId::of(b"content"), rows: 3 };
    let rows = Some(RowRange { start: 1, length: Some(2) });
    vec![
        Slice::Frame(frame, None),
        Slice::Frame(frame, rows),
        Slice::Frames(vec![frame; 2]),
        Slice::Files(files(1)),
        Slice::Nothing,
    ]
}

/// A partition of files.
fn files(of_folders: usize) -> ScanPartition {
    let slice = FileSlice {
        path: "data/country=fr/part-0.csv".to_owned(),
        size: 1000,
        e_tag: Some("1-2-3".to_owned()),
        modified_ns: 1_700_000_000_000_000_000,
        partition_values: vec![Some("fr".to_owned()); of_folders],
        bytes: 100..900,
        rows: Some(7),
        lines_before: 3,
    };
    ScanPartition { slices: vec![slice], rows: None }
}

/// A plan that reads files, which is the same whenever it is made.
fn scan() -> Result<Vec<u8>> {
    let table = ScanTable {
        layout: Layout::Csv(CsvOptions::default()),
        location: Location { url: "file:///".to_owned(), profile: None },
        file_schema: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
        partition_schema: Arc::new(Schema::new(vec![Field::new("country", DataType::Utf8, true)])),
    };
    let scan = InputScanExec::try_new(Arc::new(table), vec![1, 0], Some(5), vec![files(1); 2])?;
    let scan: Arc<dyn ExecutionPlan> = Arc::new(scan);
    Ok(encode_plan(&scan)?.to_vec())
}

/// What is known of a dataset, as descriptions carry it.
pub(super) fn figures() -> Result<Vec<Vec<u8>>> {
    let known = LanceFigures {
        fragments: 3,
        btrees: [("id".to_owned(), KeyIndex { fragments: 2 })].into(),
        max_key_map_bytes: 1 << 30,
        maps_stay: true,
        mapped: [vec!["id".to_owned(), "day".to_owned()]].into(),
        ..LanceFigures::default()
    };
    let way = LanceWay::default().access(None, true).way.to_vec();
    Ok(vec![figures_of(known)?, way])
}
