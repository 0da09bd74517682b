//! Commits that are made again, attempts that fail, and jobs that are given up.

use keyloom_common::output::MAX_LEFTOVERS;

use super::*;

async fn prepared(outputs: &FileOutputs, target: &Target, if_exists: IfExists) -> PreparedOutput {
    let spec = target.spec(FilesOutput { if_exists, ..files(FileFormat::Csv) });
    let schema = numbers([1]).schema();
    outputs.prepare(PlannedOutput { spec, schema }).await.unwrap()
}

#[tokio::test]
async fn committing_again_changes_nothing() {
    for if_exists in [IfExists::Error, IfExists::Append, IfExists::Overwrite] {
        let (target, outputs) = (Target::new(), outputs());
        let output = prepared(&outputs, &target, if_exists).await;
        let pieces = numbered(&outputs, &output, 2).await;
        let first = outputs.commit(written(JOB, &output, pieces.clone())).await.unwrap();
        let (all, data) = (target.all(), contents(&target));
        // Whatever came meanwhile is none of its business.
        target.put("later.csv", "n\n7\n");
        let second = outputs.commit(written(JOB, &output, pieces)).await.unwrap();
        assert_eq!(first, second);
        let mut expected = all;
        expected.push("later.csv".to_owned());
        expected.sort_unstable();
        assert_eq!(target.all(), expected, "{if_exists:?}");
        std::fs::remove_file(target.path().join("later.csv")).unwrap();
        assert_eq!(contents(&target), data);
    }
}

/// The names of the files that readers see, with what is in them.
fn contents(target: &Target) -> Vec<(String, String)> {
    target.data().into_iter().map(|name| (name.clone(), target.read(&name))).collect()
}

#[tokio::test]
async fn a_commit_that_stopped_half_way_is_finished() {
    let (target, outputs) = (Target::new(), outputs());
    target.put("old.csv", "n\n7\n");
    target.put("_SUCCESS", "");
    let output = prepared(&outputs, &target, IfExists::Overwrite).await;
    let pieces = numbered(&outputs, &output, 2).await;
    let tokens: Vec<_> = pieces.iter().map(|piece| Token::read(piece, JOB).unwrap()).collect();
    // The manifest and the first file are there.
    let folder = Folder::open(&outputs.stores, &output.spec).await.unwrap();
    let files = tokens.iter().zip(&pieces).map(|(token, piece)| manifest::Entry {
        path: token.path.clone(),
        rows: piece.rows,
        bytes: piece.bytes,
    });
    let manifest = Manifest {
        job: JOB.to_string(),
        format: "csv".to_owned(),
        rows: 2,
        bytes: 8,
        files: files.collect(),
        replaces: vec!["old.csv".to_owned(), "gone.csv".to_owned()],
    };
    assert_eq!(manifest.clone().create(&folder, JOB).await.unwrap(), manifest);
    let staged::Staged::File(staged) = &tokens[0].staged else { panic!("it is local") };
    std::fs::rename(folder.local(staged), folder.local(&tokens[0].path)).unwrap();
    // What came later stays: only what the manifest says is replaced.
    target.put("later.csv", "n\n8\n");
    let refused = outputs.abort(written(JOB, &output, pieces.clone())).await.unwrap_err();
    assert!(refused.message().contains("is committed, and stays"), "{refused}");
    let done = outputs.commit(written(JOB, &output, pieces)).await.unwrap();
    assert_eq!((done.rows, done.bytes, done.files), (2, 8, 2));
    let read = contents(&target);
    let expected = [
        ("later.csv".to_owned(), "n\n8\n"),
        (part(0, 0, "csv"), "n\n0\n"),
        (part(1, 0, "csv"), "n\n1\n"),
    ];
    assert_eq!(read, expected.map(|(name, text)| (name, text.to_owned())));
    assert_eq!(target.all().len(), 5);
    assert_eq!(target.read("_SUCCESS"), format!("{JOB}\n"));
}

#[tokio::test]
async fn what_another_worker_commits_meanwhile_refuses_nothing() {
    for if_exists in [IfExists::Error, IfExists::Overwrite] {
        let (target, outputs) = (Target::new(), outputs());
        let output = prepared(&outputs, &target, if_exists).await;
        let pieces = numbered(&outputs, &output, 2).await;
        let done = outputs.commit(written(JOB, &output, pieces.clone())).await.unwrap();
        let all = target.all();
        // This one has looked for the manifest before it was there.
        let folder = Folder::open(&outputs.stores, &output.spec).await.unwrap();
        let shape = Shape::of(&output.spec, &output.schema).unwrap();
        let tokens = pieces.iter().map(|piece| Token::read(piece, JOB).unwrap());
        let files = tokens.zip(pieces.clone()).collect();
        let settings = &outputs.settings;
        let late = Commit { folder: &folder, job: JOB, shape: &shape, settings, files };
        let (manifest, again) = late.decided(None).await.unwrap();
        assert_eq!((manifest.committed(), again), (done, true), "{if_exists:?}");
        assert_eq!(target.all(), all);
    }
}

#[tokio::test]
async fn what_is_lost_before_the_commit_fails_it_and_nothing_is_seen() {
    let (target, outputs) = (Target::new(), outputs());
    let output = prepared(&outputs, &target, IfExists::Append).await;
    let pieces = numbered(&outputs, &output, 2).await;
    let staged = target.path().join(target.all().pop().unwrap());
    assert_eq!(
        outputs.gone(written(JOB, &output, pieces.clone())).await.unwrap(),
        Vec::<usize>::new()
    );
    std::fs::remove_file(staged).unwrap();
    assert_eq!(outputs.gone(written(JOB, &output, pieces.clone())).await.unwrap().len(), 1);
    let error = outputs.commit(written(JOB, &output, pieces.clone())).await.unwrap_err();
    assert!(error.message().ends_with("run the job again"), "{error}");
    assert_eq!(target.data(), Vec::<String>::new());
    for _ in 0..2 {
        outputs.abort(written(JOB, &output, pieces.clone())).await.unwrap();
        assert_eq!(target.all(), Vec::<String>::new());
    }
    assert!(!target.path().join(".keyloom").exists());
}

#[tokio::test]
async fn a_stream_that_is_dropped_or_fails_leaves_nothing() {
    let (target, outputs) = (Target::new(), outputs());
    let output = prepared(&outputs, &target, IfExists::Append).await;
    let node = node(&output);
    let writing =
        Writing { attempt: attempt(JOB, 0), node: &node, computed: &CancellationToken::new() };
    let first = stream::once(async { Ok(numbers([1])) });
    let rows = rows_of(&output.schema, first.chain(stream::pending()));
    let mut dropped = outputs.write(writing, rows).unwrap();
    tokio::select! {
        told = dropped.next() => panic!("it ended: {told:?}"),
        () = until(async || !target.all().is_empty()) => {}
    }
    drop(dropped);
    let failing: Vec<datafusion::error::Result<RecordBatch>> =
        vec![Ok(numbers([1])), Err(Error::store("disk on fire").into())];
    let rows = rows_of(&output.schema, stream::iter(failing));
    let mut failed = outputs.write(writing, rows).unwrap();
    let error = Error::from(failed.next().await.unwrap().unwrap_err());
    assert_eq!(error, Error::store("disk on fire"));
    until(async || target.all().is_empty()).await;
}

#[tokio::test]
async fn behind_the_manifest_nothing_is_refused() {
    let (target, outputs) = (Target::new(), outputs());
    let output = prepared(&outputs, &target, IfExists::Append).await;
    let pieces = numbered(&outputs, &output, 2).await;
    let folder = write_manifest(&outputs, &output).await;
    std::fs::remove_dir_all(folder.local(&staged::job_folder(JOB))).unwrap();
    let error = outputs.commit(written(JOB, &output, pieces)).await.unwrap_err();
    assert_eq!(error.kind(), keyloom_common::ErrorKind::Store, "{error}");
}

#[tokio::test]
async fn what_a_job_keeps_out_of_sight_is_found_with_its_age_until_it_is_removed() {
    let (target, outputs) = (Target::new(), outputs());
    let (output, none) = (prepared(&outputs, &target, IfExists::Append).await, HashSet::new());
    assert_eq!(outputs.leftovers(&output.spec, &none).await.unwrap(), []);
    let pieces = numbered(&outputs, &output, 1).await;
    target.put(".keyloom/none/of/a/job", "");
    let left = outputs.leftovers(&output.spec, &none).await.unwrap();
    let [left] = left.as_slice() else { panic!("one job has left something: {left:?}") };
    let place = target.path().join(".keyloom").join(JOB.to_string());
    assert_eq!((left.job, left.place.as_str()), (JOB, place.to_str().unwrap()));
    assert!(left.written_ms.is_some_and(|ms| ms > 1_600_000_000_000), "{left:?}");
    outputs.abort(written(JOB, &output, pieces)).await.unwrap();
    assert_eq!(outputs.leftovers(&output.spec, &none).await.unwrap(), []);
}

#[tokio::test]
async fn a_job_that_is_given_up_takes_the_folder_with_it_that_it_made_if_nothing_is_in_there() {
    let (target, outputs) = (Target::new(), outputs());
    let folder = target.path().join("above/out");
    let append = FilesOutput { if_exists: IfExists::Append, ..files(FileFormat::Csv) };
    let (spec, schema) = (spec(folder.to_str().unwrap(), append), numbers([1]).schema());
    let output = outputs.prepare(PlannedOutput { spec, schema }).await.unwrap();
    let abort = async |job: JobId, pieces: Vec<Piece>| {
        outputs.abort(written(job, &output, pieces)).await.unwrap();
    };
    // The second task finds it.
    let pieces = numbered(&outputs, &output, 2).await;
    assert!(folder.is_dir());
    for _ in 0..2 {
        abort(JOB, pieces.clone()).await;
        assert!(!folder.exists() && target.path().join("above").is_dir());
    }

    // Somebody has put something there meanwhile, or writes there, too.
    let own = one(&outputs, &output, JOB, 1).await;
    let others = one(&outputs, &output, OTHER, 2).await;
    abort(JOB, own).await;
    assert_eq!(target.all().len(), 1, "what the other job has written");
    abort(OTHER, others).await;
    assert!(folder.is_dir(), "it was there before the other job");
    std::fs::remove_dir(&folder).unwrap();
    let own = one(&outputs, &output, JOB, 1).await;
    target.put("above/out/notes.txt", "n");
    abort(JOB, own).await;
    assert_eq!(target.all(), ["above/out/notes.txt"]);

    // It was there before, and empty.
    std::fs::remove_file(folder.join("notes.txt")).unwrap();
    let own = one(&outputs, &output, JOB, 1).await;
    abort(JOB, own).await;
    assert!(folder.is_dir() && target.all().is_empty());
}

#[tokio::test]
async fn a_folder_that_a_job_made_has_nothing_of_that_in_it_once_it_is_committed() {
    let (target, outputs) = (Target::new(), outputs());
    let folder = target.path().join("out");
    let spec = spec(folder.to_str().unwrap(), files(FileFormat::Csv));
    run(&outputs, spec, JOB, &[numbers([1])]).await.unwrap();
    let data = part(0, 0, "csv");
    let manifest = manifest::name(JOB);
    let expected = ["_SUCCESS", &manifest, &data].map(|name| format!("out/{name}"));
    assert_eq!(target.all(), expected);
    assert!(!folder.join(".keyloom").exists());
}

#[tokio::test]
async fn what_many_jobs_keep_that_are_known_hides_nothing_of_one_that_is_not() {
    let (target, outputs) = (Target::new(), outputs());
    let output = prepared(&outputs, &target, IfExists::Append).await;
    let known: HashSet<_> = (0..2 * MAX_LEFTOVERS as u128).map(JobId::from_u128).collect();
    let unknown = JobId::from_u128(u128::MAX);
    for job in [unknown].iter().chain(&known) {
        target.put(&format!("{}/part", staged::job_folder(*job)), "");
    }
    let left = outputs.leftovers(&output.spec, &known).await.unwrap();
    assert_eq!(left.iter().map(|left| left.job).collect::<Vec<_>>(), [unknown]);
    let left = outputs.leftovers(&output.spec, &HashSet::new()).await.unwrap();
    assert_eq!(left.len(), MAX_LEFTOVERS);
}

/// A job's only task, which wrote this number.
async fn one(outputs: &FileOutputs, output: &PreparedOutput, job: JobId, n: i64) -> Vec<Piece> {
    write(outputs, output, attempt(job, 0), &[numbers([n])]).await.unwrap()
}

#[tokio::test]
async fn of_two_jobs_that_were_let_in_and_commit_at_once_one_is_refused_and_leaves_nothing() {
    for _ in 0..8 {
        let (target, outputs) = (Target::new(), outputs());
        let output = prepared(&outputs, &target, IfExists::Error).await;
        let own = written(JOB, &output, one(&outputs, &output, JOB, 1).await);
        let other = written(OTHER, &output, one(&outputs, &output, OTHER, 2).await);
        let commit =
            |job: JobId, pieces: &[Piece]| outputs.commit(written(job, &output, pieces.to_vec()));
        let (first, second) = tokio::join!(commit(JOB, &own.pieces), commit(OTHER, &other.pieces));
        let (winner, text, refused, loser) = match (first, second) {
            (Ok(_), Err(refused)) => (JOB, "n\n1\n", refused, other),
            (Err(refused), Ok(_)) => (OTHER, "n\n2\n", refused, own),
            both => panic!("one of them is done: {both:?}"),
        };
        assert_eq!(refused.kind(), keyloom_common::ErrorKind::Invalid);
        let folder = target.path().to_str().unwrap();
        assert!(refused.message().contains(folder), "{refused}");
        outputs.abort(loser).await.unwrap();
        let name = staged::file_name(winner, 0, 0, "csv");
        assert_eq!(contents(&target), [(name.clone(), text.to_owned())]);
        assert_eq!(target.all(), ["_SUCCESS", &manifest::name(winner), &name]);
        assert!(!target.path().join(".keyloom").exists());
    }
}

#[tokio::test]
async fn while_a_job_commits_to_an_empty_folder_another_is_refused_by_its_name() {
    let (target, outputs) = (Target::new(), outputs());
    let output = prepared(&outputs, &target, IfExists::Error).await;
    let (own, other) =
        (one(&outputs, &output, JOB, 1).await, one(&outputs, &output, OTHER, 2).await);
    let folder = Folder::open(&outputs.stores, &output.spec).await.unwrap();
    // It has found nothing, and has not decided yet.
    claim::take(&folder, OTHER).await.unwrap();
    claim::take(&folder, OTHER).await.unwrap();
    let refused = outputs.commit(written(JOB, &output, own.clone())).await.unwrap_err();
    let message = format!("job {OTHER} commits to {} at this moment", target.path().display());
    assert!(refused.message().starts_with(&message), "{refused}");
    let since = target.read(&claim::name()).lines().nth(1).unwrap().to_owned();
    let told = format!("if there is no such job any more (it began at {since})");
    assert!(refused.message().ends_with(&told), "{refused}");
    outputs.abort(written(JOB, &output, own)).await.unwrap();
    outputs.commit(written(OTHER, &output, other)).await.unwrap();
    let name = staged::file_name(OTHER, 0, 0, "csv");
    assert_eq!(contents(&target), [(name, "n\n2\n".to_owned())]);
    assert!(!target.path().join(".keyloom").exists());
}
