//! Blobs that come in parts, are held by jobs, and go.

use arrow::array::RecordBatch;
use keyloom_common::{ErrorKind, rpc::Role};

use super::*;

fn blobs(max: u64) -> Arc<Blobs> {
    Arc::new(Blobs::new(max, Duration::ZERO))
}

#[test]
fn parts_make_a_whole_and_repeats_are_harmless() {
    let blobs = blobs(1000);
    let bytes = Bytes::from_static(b"hello world");
    let id = BlobId::of(&bytes);
    blobs.put_part(&Owner::default(), id, 0, 11, bytes.slice(..5).into()).unwrap();
    blobs.put_part(&Owner::default(), id, 0, 11, bytes.slice(..5).into()).unwrap();
    assert!(!blobs.has(&Owner::default(), id));
    blobs.put_part(&Owner::default(), id, 5, 11, bytes.slice(5..).into()).unwrap();
    assert!(blobs.has(&Owner::default(), id));
    assert_eq!(blobs.read(id, 6, 100).unwrap().part, Chunk::from(Bytes::from_static(b"world")));
    assert_eq!(blobs.read(id, 0, 5).unwrap().part, Chunk::from(Bytes::from_static(b"hello")));
}

#[test]
fn bytes_of_another_hash_are_refused() {
    let id = BlobId::of(b"one");
    let error = blobs(10)
        .put_part(&Owner::default(), id, 0, 3, Bytes::from_static(b"two").into())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn what_no_job_uses_makes_room_before_its_time() {
    let blobs = Arc::new(Blobs::new(10, Duration::from_secs(600)));
    let [a, b, c] = [b"aaaaa", b"bbbbb", b"ccccc"].map(|bytes| Bytes::from_static(bytes));
    let [id_a, id_b, id_c] = [&a, &b, &c].map(|bytes| BlobId::of(bytes));
    blobs.put_part(&Owner::default(), id_a, 0, 5, a.into()).unwrap();
    blobs.put_part(&Owner::default(), id_b, 0, 5, b.into()).unwrap();
    assert!(blobs.has(&Owner::default(), id_a));
    blobs.put_part(&Owner::default(), id_c, 0, 5, c.into()).unwrap();
    assert!(
        blobs.has(&Owner::default(), id_a)
            && !blobs.has(&Owner::default(), id_b)
            && blobs.has(&Owner::default(), id_c)
    );
}

#[test]
fn rows_of_this_process_are_there_while_their_client_or_a_job_has_them() {
    let blobs = Arc::new(Blobs::new(0, Duration::from_secs(600)));
    let (id, jobs) = (BlobId::unique(), [JobId::from_u128(1), JobId::from_u128(2)]);
    let rows: Chunk = Vec::<RecordBatch>::new().into();
    blobs.put_part(&Owner::default(), id, 0, 0, rows.clone()).unwrap();
    let [one, two] = jobs.map(|job| blobs.hold(job, &Owner::default(), [id]).unwrap());
    drop(rows);
    drop(one);
    assert!(blobs.has(&Owner::default(), id) && blobs.read(id, 0, 1).is_ok());
    drop(two);
    assert!(!blobs.has(&Owner::default(), id));
    assert_eq!(
        blobs.hold(jobs[0], &Owner::default(), [id]).unwrap_err().code(),
        Some(ErrorCode::BlobGone)
    );
}

#[test]
fn held_blobs_stay_and_others_make_room() {
    let blobs = blobs(10);
    let job = JobId::from_u128(1);
    let (a, b, c) = (Bytes::from_static(b"aaaaa"), Bytes::from_static(b"bbbbb"), b"ccccc");
    let (id_a, id_b, id_c) = (BlobId::of(&a), BlobId::of(&b), BlobId::of(c));
    blobs.put_part(&Owner::default(), id_a, 0, 5, a.into()).unwrap();
    blobs.put_part(&Owner::default(), id_b, 0, 5, b.into()).unwrap();
    let a = blobs.hold(job, &Owner::default(), [id_a]).unwrap();
    blobs.put_part(&Owner::default(), id_c, 0, 5, Bytes::from_static(c).into()).unwrap();
    assert!(
        blobs.has(&Owner::default(), id_a)
            && !blobs.has(&Owner::default(), id_b)
            && blobs.has(&Owner::default(), id_c)
    );
    let c = blobs.hold(job, &Owner::default(), [id_c]).unwrap();
    let full = blobs
        .put_part(&Owner::default(), id_b, 0, 5, Bytes::from_static(b"bbbbb").into())
        .unwrap_err();
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
    drop((a, c));
    blobs.put_part(&Owner::default(), id_b, 0, 5, Bytes::from_static(b"bbbbb").into()).unwrap();
}

#[test]
fn a_part_of_a_blob_goes_with_its_client() {
    let blobs = Arc::new(Blobs::new(20, Duration::from_secs(600)));
    let (owner, id) = (Owner::default(), BlobId::of(b"hello world"));
    blobs.put_part(&owner, id, 0, 11, Bytes::from_static(b"hello").into()).unwrap();
    blobs.expire();
    assert_eq!(blobs.lock().bytes, 11);
    drop(owner);
    blobs.expire();
    assert_eq!(blobs.lock().bytes, 0);
    // Another sends it too, and had nothing to send of what is gone.
    let put = |offset: u64, part: &'static [u8]| {
        let part = Bytes::from_static(part).into();
        blobs.put_part(&Owner::default(), id, offset, 11, part)
    };
    assert_eq!(put(5, b" world").unwrap_err().kind(), ErrorKind::Unavailable);
    put(0, b"hello").unwrap();
    blobs.expire();
    assert_eq!(put(5, b" world").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_blob_has_room_for_its_rest_from_its_first_part_on() {
    let blobs = Arc::new(Blobs::new(11, Duration::from_secs(600)));
    let (owner, id) = (Owner::default(), BlobId::of(b"hello world"));
    let put = |id: BlobId, offset: u64, total: u64, part: &'static [u8]| {
        blobs.put_part(&owner, id, offset, total, Bytes::from_static(part).into())
    };
    put(id, 0, 11, b"hello").unwrap();
    let full = put(BlobId::of(b"other"), 0, 5, b"other").unwrap_err();
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
    put(id, 5, 11, b" wor").unwrap();
    // Another's parts may have another size.
    put(id, 3, 11, b"lo world").unwrap();
    assert!(blobs.has(&Owner::default(), id));
    assert_eq!(blobs.lock().bytes, 11);
    assert!(blobs.lock().partial.is_empty());
}

#[test]
fn parts_that_cannot_be_right_are_refused_and_leave_nothing() {
    let blobs = Arc::new(Blobs::new(100, Duration::from_secs(600)));
    let (owner, id) = (Owner::default(), BlobId::of(b"hello world"));
    let put = |offset: u64, total: u64, part: &'static [u8]| {
        blobs.put_part(&owner, id, offset, total, Bytes::from_static(part).into())
    };
    let kind = |put: Result<()>| put.unwrap_err().kind();
    assert_eq!(kind(put(0, u64::MAX, b"hello")), ErrorKind::ResourceExhausted);
    assert_eq!(kind(put(u64::MAX, 11, b"hello")), ErrorKind::Invalid);
    assert_eq!(kind(put(0, 4, b"hello")), ErrorKind::Invalid);
    assert_eq!(blobs.lock().bytes, 0);
    put(0, 11, b"hello").unwrap();
    assert_eq!(kind(put(5, 12, b" world")), ErrorKind::Invalid);
    assert_eq!(kind(put(6, 11, b"world")), ErrorKind::Unavailable);
    assert_eq!(kind(put(5, 11, b" there")), ErrorKind::Invalid);
    assert_eq!(blobs.lock().bytes, 0);
    assert!(!blobs.has(&Owner::default(), id) && blobs.lock().partial.is_empty());
}

#[test]
fn nothing_is_put_for_a_job_that_has_ended() {
    let (blobs, job) = (blobs(10), JobId::from_u128(1));
    let held = blobs.hold(job, &Owner::default(), []).unwrap();
    let id = blobs.put_rows(job, Bytes::from_static(b"one")).unwrap();
    assert_eq!(blobs.lock().whole[&id].jobs, [job]);
    drop(held);
    let error = blobs.put_rows(job, Bytes::from_static(b"two")).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Cancelled, "the job was stopped"));
    blobs.expire();
    assert_eq!(blobs.lock().bytes, 0);
    assert!(blobs.lock().whole.is_empty());
}

#[test]
fn a_job_that_finds_a_blob_gone_holds_none() {
    let blobs = blobs(10);
    let (there, gone) = (Bytes::from_static(b"there"), BlobId::of(b"gone"));
    let id = BlobId::of(&there);
    blobs.put_part(&Owner::default(), id, 0, 5, there.into()).unwrap();
    let refused = blobs.hold(JobId::from_u128(1), &Owner::default(), [id, gone]).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BlobGone));
    assert!(blobs.lock().whole[&id].jobs.is_empty());
}

#[test]
fn plans_find_room_beside_full_tables() {
    let (blobs, job) = (blobs(5), JobId::from_u128(1));
    let table = Bytes::from_static(b"table");
    let id = BlobId::of(&table);
    blobs.put_part(&Owner::default(), id, 0, 5, table.into()).unwrap();
    let _held = blobs.hold(job, &Owner::default(), [id]).unwrap();
    let plan = blobs.put_plan(job, Bytes::from_static(b"plan")).unwrap();
    assert!(blobs.has(&Owner::default(), plan));
    let full = blobs.put_rows(job, Bytes::from_static(b"rows")).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
    blobs.forget(job, plan);
    assert!(blobs.has(&Owner::default(), id) && !blobs.has(&Owner::default(), plan));
}

#[test]
fn what_a_client_has_not_sent_is_not_there_for_it() {
    let blobs = Arc::new(Blobs::new(100, Duration::from_secs(600)));
    let client = |role, name: &str| Owner::of(Identity { role, name: name.into() });
    let [alice, bob] = ["alice", "bob"].map(|name| client(Role::Client, name));
    let (job, id) = (JobId::from_u128(1), BlobId::of(b"hello world"));
    let put = |owner: &Owner, offset: u64, part: &'static [u8]| {
        blobs.put_part(owner, id, offset, 11, Bytes::from_static(part).into())
    };
    put(&alice, 0, b"hello").unwrap();
    // The rest alone makes nobody else a whole.
    assert_eq!(put(&bob, 5, b" world").unwrap_err().kind(), ErrorKind::Unavailable);
    put(&alice, 5, b" world").unwrap();
    assert!(blobs.has(&alice, id) && !blobs.has(&bob, id));
    assert_eq!(put(&bob, 5, b" world").unwrap_err().kind(), ErrorKind::Unavailable);
    let refused = blobs.hold(job, &bob, [id]).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BlobGone));
    // Whoever sends it all has it, and it is held once.
    put(&bob, 0, b"hello").unwrap();
    put(&bob, 5, b" world").unwrap();
    assert!(blobs.has(&bob, id) && blobs.hold(job, &bob, [id]).is_ok());
    assert_eq!(blobs.lock().bytes, 11);
    // What the coordinator makes for a job is no client's, and operators may have everything.
    let _held = blobs.hold(job, &alice, []).unwrap();
    let rows = blobs.put_rows(job, Bytes::from_static(b"rows")).unwrap();
    assert!(!blobs.has(&alice, rows) && blobs.has(&client(Role::Operator, "olga"), rows));
}

#[test]
fn what_a_client_has_not_sent_itself_is_refused_as_what_is_not_there() {
    let blobs = Arc::new(Blobs::new(100, Duration::from_secs(600)));
    let client = |name: &str| Owner::of(Identity { role: Role::Client, name: name.into() });
    let id = BlobId::of(b"rows");
    let missing = blobs.check(&client("alice"), id);
    blobs.put_part(&client("alice"), id, 0, 4, Bytes::from_static(b"rows").into()).unwrap();
    assert_eq!(blobs.check(&client("alice"), id), Ok(()));
    let refused = blobs.check(&client("bob"), id);
    assert_eq!(refused, missing);
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::BlobGone));
}
