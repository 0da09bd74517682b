//! What becomes of what is there.

use std::os::unix::fs::symlink;

use keyloom_common::report::{PlanMetrics, counter};

use super::{staged::file_name, *};

fn mode(if_exists: IfExists) -> FilesOutput {
    FilesOutput { if_exists, ..files(FileFormat::Csv) }
}

#[tokio::test]
async fn a_folder_that_is_in_use_is_refused_before_and_at_the_commit() {
    for file in ["old.parquet", "day=1/old.csv.gz", "_SUCCESS", "_keyloom/x.json"] {
        let target = Target::new();
        let outputs = outputs();
        let schema = numbers([1]).schema();
        let spec = target.spec(mode(IfExists::Error));
        target.put("README.md", "stays");
        let planned = PlannedOutput { spec, schema };
        let output = outputs.prepare(planned.clone()).await.unwrap();
        let pieces = write(&outputs, &output, attempt(JOB, 0), &[numbers([1])]).await.unwrap();
        target.put(file, "old");
        let expected = format!(
            "{} has files already ({file}), and if_exists is error; choose overwrite, append or \
             another path",
            target.path().display()
        );
        let refused = outputs.prepare(planned).await.unwrap_err();
        assert_eq!(refused, Error::invalid(expected.clone()));
        let refused = outputs.commit(written(JOB, &output, pieces.clone())).await.unwrap_err();
        assert_eq!(refused, Error::invalid(expected));
        outputs.abort(written(JOB, &output, pieces)).await.unwrap();
        let mut left = [file, "README.md"];
        left.sort_unstable();
        assert_eq!(target.all(), left);
    }
}

#[tokio::test]
async fn append_leaves_what_is_there() {
    let target = Target::new();
    target.put("old.csv", "n\n7\n");
    let outputs = outputs();
    let append = || target.spec(mode(IfExists::Append));
    run(&outputs, append(), JOB, &[numbers([1])]).await.unwrap();
    run(&outputs, append(), OTHER, &[numbers([2])]).await.unwrap();
    let names = ["old.csv".to_owned(), part(0, 0, "csv"), file_name(OTHER, 0, 0, "csv")];
    assert_eq!(target.data(), names);
    assert_eq!(names.map(|name| target.read(&name)), ["n\n7\n", "n\n1\n", "n\n2\n"]);
    // Nor do jobs whose ids begin alike take each other's place.
    let alike = JobId::from_u128((0x0123_4567 << 96) + 1);
    run(&outputs, append(), alike, &[numbers([3])]).await.unwrap();
    assert_eq!(target.read(&part(0, 0, "csv")), "n\n1\n");
    // Without rows, the columns are known from what is there.
    let none = JobId::from_u128(9 << 100);
    let done = run(&outputs, append(), none, &[numbers([])]).await.unwrap();
    assert_eq!((done, target.data().len()), (Committed::default(), 4));
}

#[tokio::test]
async fn overwrite_removes_data_files_and_nothing_else() {
    let target = Target::new();
    target.put("day=1/hour=2/old.parquet", "old");
    target.put("day=1/notes.txt", "stays");
    target.put("other.json.zst", "old");
    target.put("_logs/kept.csv", "hidden");
    target.put("_keyloom/earlier.json", "{}");
    target.put("_SUCCESS", "");
    let spec = target.spec(mode(IfExists::Overwrite));
    run(&outputs(), spec, JOB, &[numbers([1])]).await.unwrap();
    let manifest = manifest::name(JOB);
    let part = part(0, 0, "csv");
    let expected = ["_SUCCESS", &manifest, "_logs/kept.csv", "day=1/notes.txt", &part];
    assert_eq!(target.all(), expected);
    assert!(!target.path().join("day=1/hour=2").exists());
    assert_eq!(target.read("_SUCCESS"), format!("{JOB}\n"));
    let manifest: Manifest = serde_json::from_str(&target.read(&manifest)).unwrap();
    let mut replaces = manifest.replaces;
    replaces.sort_unstable();
    assert_eq!(replaces, ["_keyloom/earlier.json", "day=1/hour=2/old.parquet", "other.json.zst"]);
    assert_eq!((manifest.rows, manifest.bytes, manifest.files.len()), (1, 4, 1));
}

#[tokio::test]
async fn overwrite_removes_nothing_that_a_link_leads_to() {
    let (target, other) = (Target::new(), Target::new());
    other.put("deep/kept.csv", "kept");
    target.put("old.csv", "old");
    let outputs = outputs();
    let planned = PlannedOutput {
        spec: target.spec(mode(IfExists::Overwrite)),
        schema: numbers([1]).schema(),
    };
    let output = outputs.prepare(planned.clone()).await.unwrap();
    let pieces = write(&outputs, &output, attempt(JOB, 0), &[numbers([1])]).await.unwrap();
    symlink(other.path(), target.path().join("link")).unwrap();
    let words = "link/deep is a link or behind one that leads out of ";
    let refused = outputs.prepare(planned).await.unwrap_err();
    assert!(refused.message().contains(words), "{refused}");
    let refused = outputs.commit(written(JOB, &output, pieces.clone())).await.unwrap_err();
    assert_eq!(refused.kind(), keyloom_common::ErrorKind::Invalid);
    assert!(refused.message().contains(words), "{refused}");
    outputs.abort(written(JOB, &output, pieces)).await.unwrap();
    assert_eq!(target.read("old.csv"), "old");
    assert_eq!(other.read("deep/kept.csv"), "kept");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_made_by_the_commit_with_all_tasks_in_it() {
    let target = Target::new();
    let outputs = outputs();
    let path = target.path().join("new/deep").to_str().unwrap().to_owned();
    let schema = numbers([1]).schema();
    let spec = spec(path, mode(IfExists::Error));
    let output = outputs.prepare(PlannedOutput { spec, schema }).await.unwrap();
    assert!(!target.path().join("new").exists());
    let mut pieces = Vec::new();
    for task in 0..3 {
        let rows = if task == 1 { vec![] } else { vec![numbers([i64::from(task)])] };
        pieces.extend(write(&outputs, &output, attempt(JOB, task), &rows).await.unwrap());
    }
    assert_eq!(pieces.len(), 2, "a task without rows writes nothing");
    assert!(target.data().iter().all(|file| file.contains("/.keyloom/")), "{:?}", target.data());
    let done = outputs.commit(written(JOB, &output, pieces)).await.unwrap();
    assert_eq!((done.rows, done.files), (2, 2));
    let manifest = format!("new/deep/{}", manifest::name(JOB));
    let parts = [0, 2].map(|task| format!("new/deep/{}", part(task, 0, "csv")));
    let expected = ["new/deep/_SUCCESS", &manifest, &parts[0], &parts[1]];
    assert_eq!(target.all(), expected);
}

#[tokio::test]
async fn a_task_counts_what_it_writes() {
    let (target, outputs) = (Target::new(), outputs());
    let schema = numbers([1]).schema();
    let spec = target.spec(mode(IfExists::Append));
    let output = outputs.prepare(PlannedOutput { spec, schema }).await.unwrap();
    let node = node(&output);
    let rows = rows_of(&output.schema, stream::iter([Ok(numbers([1, 2, 3]))]));
    let writing =
        Writing { attempt: attempt(JOB, 0), node: &node, computed: &CancellationToken::new() };
    let told = outputs.write(writing, rows).unwrap().next().await.unwrap().unwrap();
    let pieces = Piece::read(&told).unwrap();
    assert_eq!((pieces.len(), pieces[0].rows, pieces[0].bytes), (1, 3, 8));
    let counted = PlanMetrics::of_node(&node);
    let names = [counter::ROWS_WRITTEN, counter::BYTES_WRITTEN, counter::FILES_WRITTEN];
    let value = |name| counted.node(0).iter().find(|metric| metric.name == name);
    let values = names.map(|name| value(name).map(|metric| metric.value));
    assert_eq!(values, [Some(3), Some(8), Some(1)]);
}
