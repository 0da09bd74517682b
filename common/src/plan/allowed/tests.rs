use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::physical_expr::expressions::Column;
use datafusion_proto::{
    generated::datafusion_common as proto,
    protobuf::{
        AggLimit, EmptyExecNode, GenerateSeriesNode, ListUnnest, Partitioning,
        PhysicalBinaryExprNode, PhysicalHashRepartition, PlaceholderRowExecNode,
    },
};

use super::*;
use crate::{
    ErrorKind,
    input::{CsvOptions, JsonLayout, Layout, Location},
    ipc::encode_all,
    lookup::{Fetch, KvLookupExec, Wave},
    plan::ScanTable,
    store::{Access, LANCE, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreSpec},
};

fn node(kind: Node) -> PhysicalPlanNode {
    PhysicalPlanNode { physical_plan_type: Some(kind) }
}

fn expr(kind: Expr) -> PhysicalExprNode {
    PhysicalExprNode { expr_id: None, expr_type: Some(kind) }
}

fn refused(checked: Result<()>, message: &str) {
    let error = checked.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
}

#[test]
fn nodes_of_queries_are_allowed() {
    let kinds = [
        Node::Aggregate(Default::default()),
        Node::Cooperative(Default::default()),
        Node::CrossJoin(Default::default()),
        Node::Empty(Default::default()),
        Node::Extension(Default::default()),
        Node::Filter(Default::default()),
        Node::GenerateSeries(Default::default()),
        Node::GlobalLimit(Default::default()),
        Node::HashJoin(Default::default()),
        Node::LocalLimit(Default::default()),
        Node::MemoryScan(Default::default()),
        Node::Merge(Default::default()),
        Node::NestedLoopJoin(Default::default()),
        Node::PlaceholderRow(Default::default()),
        Node::Projection(Default::default()),
        Node::Sort(Default::default()),
        Node::SortPreservingMerge(Default::default()),
        Node::Union(Default::default()),
        Node::Unnest(Default::default()),
        Node::Window(Default::default()),
    ];
    for kind in kinds {
        let node = node(kind);
        assert_eq!(check_node(&node), Ok(()), "{node:?}");
    }
}

#[test]
fn what_reads_or_writes_files_by_itself_is_refused_by_name() {
    let sink = "a plan from a peer holds DataSinkExec, which no query needs";
    refused(check_node(&node(Node::CsvSink(Default::default()))), sink);
    refused(check_node(&node(Node::JsonSink(Default::default()))), sink);
    refused(check_node(&node(Node::ParquetSink(Default::default()))), sink);
    let files = "a plan from a peer holds DataSourceExec with files, which no query needs";
    refused(check_node(&node(Node::ArrowScan(Default::default()))), files);
    refused(check_node(&node(Node::AvroScan(Default::default()))), files);
    refused(check_node(&node(Node::CsvScan(Default::default()))), files);
    refused(check_node(&node(Node::JsonScan(Default::default()))), files);
    refused(check_node(&node(Node::ParquetScan(Default::default()))), files);
}

#[test]
fn rows_are_repartitioned_by_hash_alone_and_into_a_bounded_number() {
    let hash = |partition_count| {
        PartitionMethod::Hash(PhysicalHashRepartition { hash_expr: Vec::new(), partition_count })
    };
    let check = |method, preserve_order| {
        let partitioning = Some(Partitioning { partition_method: Some(method) });
        let repartition = RepartitionExecNode { input: None, partitioning, preserve_order };
        check_node(&node(Node::Repartition(Box::new(repartition))))
    };
    check(hash(1), false).unwrap();
    check(hash(MAX_SHUFFLED), false).unwrap();
    let others = [
        (hash(0), false),
        (hash(MAX_SHUFFLED + 1), false),
        (hash(2), true),
        (PartitionMethod::RoundRobin(2), false),
        (PartitionMethod::Unknown(2), false),
    ];
    for (method, preserve_order) in others {
        let message = "a plan from a peer holds RepartitionExec, which no query needs";
        refused(check(method, preserve_order), message);
    }
}

#[test]
fn nodes_that_no_query_is_planned_with_are_refused_by_name() {
    let cases = [
        (Node::Analyze(Default::default()), "AnalyzeExec"),
        (Node::AsyncFunc(Default::default()), "AsyncFuncExec"),
        (Node::Buffer(Default::default()), "BufferExec"),
        (Node::CoalesceBatches(Default::default()), "CoalesceBatchesExec"),
        (Node::Explain(Default::default()), "ExplainExec"),
        (Node::Interleave(Default::default()), "InterleaveExec"),
        (Node::Repartition(Default::default()), "RepartitionExec"),
        (Node::ScalarSubquery(Default::default()), "ScalarSubqueryExec"),
        (Node::SortMergeJoin(Default::default()), "SortMergeJoinExec"),
        (Node::SymmetricHashJoin(Default::default()), "SymmetricHashJoinExec"),
    ];
    for (kind, name) in cases {
        let message = format!("a plan from a peer holds {name}, which no query needs");
        refused(check_node(&node(kind)), &message);
    }
}

#[test]
fn rows_that_are_all_there_are_allowed() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let rows = encode_all(&batch.schema(), &[batch]).unwrap().to_vec();
    let scan = |partitions: Vec<Vec<u8>>| {
        let scan = MemoryScanExecNode { partitions, ..Default::default() };
        check_node(&node(Node::MemoryScan(scan)))
    };
    assert_eq!(scan(vec![rows.clone(), Vec::new()]), Ok(()));
    // The numbers take the last 800 bytes, but for the end of the stream.
    let cut = rows[..rows.len() - 400].to_vec();
    assert_eq!(scan(vec![rows, cut]).unwrap_err().kind(), ErrorKind::Internal);
}

/// A schema of one column, as protobuf has it.
fn columns(data_type: &DataType) -> Option<proto::Schema> {
    let arrow_type = Some(Box::new(ArrowType::try_from(data_type).unwrap()));
    let column = proto::Field { arrow_type, nullable: true, ..Default::default() };
    Some(proto::Schema { columns: vec![column], ..Default::default() })
}

#[test]
fn types_that_nodes_say_are_checked_before_a_null_is_made() {
    let kinds = |data_type: &DataType| {
        let schema = columns(data_type);
        [
            Node::Empty(EmptyExecNode { schema: schema.clone() }),
            Node::PlaceholderRow(PlaceholderRowExecNode { schema: schema.clone() }),
            Node::GenerateSeries(GenerateSeriesNode {
                schema: schema.clone(),
                ..Default::default()
            }),
            Node::MemoryScan(MemoryScanExecNode { schema: schema.clone(), ..Default::default() }),
            Node::Unnest(Box::new(UnnestExecNode { schema: schema.clone(), ..Default::default() })),
            Node::Aggregate(Box::new(AggregateExecNode {
                input_schema: schema,
                ..Default::default()
            })),
        ]
    };
    let vector = |length| DataType::new_fixed_size_list(DataType::Int64, length, true);
    let matrix = DataType::new_fixed_size_list(vector(1 << 20), 1 << 20, true);
    for data_type in [DataType::FixedSizeBinary(-1), vector(-5), matrix] {
        for kind in kinds(&data_type) {
            let error = check_node(&node(kind)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
            assert!(error.message().contains("a type of fixed length"), "{error}");
        }
    }
    for kind in kinds(&vector(768)) {
        assert_eq!(check_node(&node(kind)), Ok(()));
    }
}

#[test]
fn lists_are_unnested_no_deeper_than_anything_is_nested() {
    let unnest = |depth| {
        let column = ListUnnest { index_in_input_schema: 0, depth };
        let unnest = UnnestExecNode { list_type_columns: vec![column], ..Default::default() };
        check_node(&node(Node::Unnest(Box::new(unnest))))
    };
    assert_eq!(unnest(MAX_DEPTH as u32), Ok(()));
    assert_eq!(unnest(u32::MAX), Err(too_deep()));
}

#[test]
fn an_aggregate_takes_no_room_for_a_limit() {
    let aggregate = |descending, aggr_expr| {
        let limit = Some(AggLimit { limit: 1 << 40, descending });
        let aggregate = AggregateExecNode { limit, aggr_expr, ..Default::default() };
        check_node(&node(Node::Aggregate(Box::new(aggregate))))
    };
    assert_eq!(aggregate(None, Vec::new()), Ok(()));
    let message = "a plan from a peer holds a limit of an aggregate's groups, which no query needs";
    refused(aggregate(Some(true), Vec::new()), message);
    refused(aggregate(None, vec![PhysicalExprNode::default()]), message);
}

#[test]
fn expressions_of_queries_are_allowed() {
    let kinds = [
        Expr::BinaryExpr(Default::default()),
        Expr::Case(Default::default()),
        Expr::Cast(Default::default()),
        Expr::Column(Default::default()),
        Expr::DynamicFilter(Default::default()),
        Expr::InList(Default::default()),
        Expr::IsNotNullExpr(Default::default()),
        Expr::IsNullExpr(Default::default()),
        Expr::LikeExpr(Default::default()),
        Expr::Literal(Default::default()),
        Expr::Negative(Default::default()),
        Expr::NotExpr(Default::default()),
        Expr::ScalarUdf(Default::default()),
        Expr::TryCast(Default::default()),
        Expr::UnknownColumn(Default::default()),
    ];
    for kind in kinds {
        let expr = expr(kind);
        assert_eq!(check_expr(&expr), Ok(()), "{expr:?}");
    }
}

#[test]
fn expressions_that_no_query_is_planned_with_are_refused_by_name() {
    let cases = [
        (Expr::AggregateExpr(Default::default()), "an aggregate as a value"),
        (Expr::Extension(Default::default()), "an extension"),
        (Expr::HashExpr(Default::default()), "HashExpr"),
        (Expr::ScalarSubquery(Default::default()), "ScalarSubqueryExpr"),
        (Expr::Sort(Default::default()), "a sort key as a value"),
        (Expr::WindowExpr(Default::default()), "a window as a value"),
    ];
    for (kind, name) in cases {
        let message = format!("a plan from a peer holds {name}, which no query needs");
        refused(check_expr(&expr(kind)), &message);
    }
}

#[test]
fn nulls_take_no_more_than_they_may() {
    let null = |data_type: &DataType| {
        let value = Some(Value::NullValue(ArrowType::try_from(data_type).unwrap()));
        expr(Expr::Literal(ScalarValue { value }))
    };
    let list = |length| DataType::new_fixed_size_list(DataType::Int64, length, true);
    assert_eq!(check_expr(&null(&list(1 << 20))), Ok(()));
    assert_eq!(nulls(&null(&list(1 << 20))), 8 << 20);
    let message = "a plan from a peer has nulls of 17179869176 bytes, more than 33554432";
    refused(check_expr(&null(&list(i32::MAX))), message);
}

#[test]
fn a_flat_chain_is_as_deep_as_it_has_operators() {
    let chain = |operands: usize| {
        let operands = vec![PhysicalExprNode::default(); operands];
        let binary =
            PhysicalBinaryExprNode { op: "Plus".to_owned(), operands, ..Default::default() };
        levels(&expr(Expr::BinaryExpr(Box::new(binary))))
    };
    // Without operands there are a left and a right side.
    assert_eq!([0, 1, 2, 3, 5_000].map(chain), [1, 1, 1, 2, 4_999]);
    assert_eq!(levels(&expr(Expr::Case(Default::default()))), 1);
    assert_eq!(levels(&PhysicalExprNode::default()), 1);
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]))
}

/// A plan that reads an input at a place.
fn scan(layout: Layout, url: &str) -> Arc<dyn ExecutionPlan> {
    let table = ScanTable {
        layout,
        location: Location { url: url.to_owned(), profile: None },
        file_schema: schema(),
        partition_schema: Arc::new(Schema::empty()),
    };
    Arc::new(InputScanExec::try_new(Arc::new(table), vec![0], None, Vec::new()).unwrap())
}

/// A plan that looks up rows of a dataset.
fn lookup(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let key = Some(StoreKey::RowId);
    let spec = StoreSpec { key, ..StoreSpec::new("items", LANCE, "/data/items.lance") };
    let description = StoreDescription {
        schema: schema(),
        snapshot: Snapshot::Immutable,
        figures: None,
        primary_key: None,
        repeats_keys: true,
    };
    let fetch = Fetch {
        store: ResolvedStore::try_new("items", spec, description).unwrap(),
        key: Arc::new(Column::new("id", 0)),
        calls: Vec::new(),
        batch_size: None,
        access: Access::default(),
        reason: None,
        joined: None,
        key_set: None,
    };
    Arc::new(KvLookupExec::try_new(input, vec![Wave { fetches: vec![fetch] }]).unwrap())
}

#[test]
fn inputs_are_read_from_where_workers_read() {
    let places = [
        "file:///",
        "s3://bucket/",
        "s3a://bucket/",
        "gs://bucket/",
        "az://box/",
        "abfs://box@me.dfs.core.windows.net/",
        "abfss://box@me.dfs.core.windows.net/",
        "http://127.0.0.1:9/",
        "https://example.com/",
    ];
    for url in places {
        assert_eq!(check(&scan(Layout::Parquet, url)), Ok(()), "{url}");
        assert_eq!(check(&scan(Layout::Arrow, url)), Ok(()), "{url}");
    }
    let message = "inputs are read from local paths, file://, s3://, s3a://, gs://, az://, \
                   abfs://, abfss://, http://, https://, not hdfs://";
    refused(check(&scan(Layout::Csv(CsvOptions::default()), "hdfs://host/")), message);
    refused(check(&scan(Layout::Json(JsonLayout::default()), "HDFS://host/")), message);
}

#[test]
fn datasets_are_read_from_where_lance_reads() {
    let lance = || Layout::Lance(Snapshot::Immutable);
    let places = [
        "/data/a b/items.lance",
        "file:///data/items.lance",
        "file-object-store:///data/items.lance",
        "file+uring:///data/items.lance",
        "s3://bucket/items.lance",
    ];
    for uri in places {
        assert_eq!(check(&scan(lance(), uri)), Ok(()), "{uri}");
    }
    let message = "Lance datasets are read from local paths, file://, file-object-store://, \
                   file+uring://, s3://, not memory://";
    refused(check(&scan(lance(), "memory://items")), message);
}

#[test]
fn places_are_checked_wherever_they_stand_in_a_plan() {
    let input = scan(Layout::Parquet, "ftp://host/");
    let error = check(&lookup(input)).unwrap_err();
    assert!(error.message().ends_with("not ftp://"), "{error}");
}
