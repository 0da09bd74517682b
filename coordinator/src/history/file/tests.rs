//! Files that are in use, damaged, of another format or opened again.

use std::fs;

use super::{
    database::{FORMAT_KEY, META},
    *,
};

fn open(folder: &Path) -> String {
    StateFile::open(folder).map_or_else(|error| error.to_string(), |_| "open".to_owned())
}

#[test]
fn a_folder_has_one_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let first = StateFile::open(folder.path()).unwrap();
    let refused = open(folder.path());
    assert!(refused.contains("is in use by another coordinator"), "{refused}");
    drop(first);
    assert_eq!(open(folder.path()), "open");
}

#[test]
fn what_is_no_such_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    fs::write(&path, "no redb".repeat(4096)).unwrap();
    let refused = open(folder.path());
    assert!(refused.starts_with(&format!("{} cannot be used: ", path.display())), "{refused}");
}

#[test]
fn another_format_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_database(&folder.path().join(NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    let other = 7_u32.to_le_bytes();
    transaction.open_table(META).unwrap().insert(FORMAT_KEY, other.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = open(folder.path());
    assert!(refused.contains("it is of format 7, and this build reads format 1"), "{refused}");
}

#[test]
fn a_file_is_opened_again_once_that_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::open(folder.path()).unwrap();
    let job = JobId::from_u128(1);
    let task = |task: u32| Batch {
        tasks: vec![(TaskKey::new(job, 0, task), vec![7])],
        ..Batch::default()
    };
    file.write(&task(1)).unwrap();
    let failed = file.on_database(
        |_| Err::<(), _>(redb::Error::PreviousIo),
        |error| Error::resource_exhausted(error.to_string()),
    );
    assert!(failed.is_err());
    file.write(&task(2)).unwrap();
    assert_eq!((file.sized_tasks(job, 0), file.check()), (Ok(vec![(1, 1), (2, 1)]), Ok(())));

    file.close();
    let other = StateFile::open(folder.path()).unwrap();
    assert!(file.write(&task(3)).is_err() && file.check().is_err());
    drop(other);
    file.write(&task(4)).unwrap();
    let expected = vec![(1, 1), (2, 1), (4, 1)];
    assert_eq!((file.sized_tasks(job, 0), file.check()), (Ok(expected), Ok(())));
}

#[test]
fn damaged_bytes_are_an_error_or_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let file = StateFile::open(folder.path()).unwrap();
    let job = JobId::from_u128(1);
    let task = (TaskKey::new(job, 0, 3), vec![7; 10_000]);
    file.write(&Batch { tasks: vec![task], ..Batch::default() }).unwrap();
    assert_eq!(file.sized_tasks(job, 0), Ok(vec![(3, 10_000)]));
    drop(file);
    let sound = fs::read(&path).unwrap();
    for at in (0..sound.len()).step_by(sound.len() / 16) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, damaged).unwrap();
        if let Ok(file) = StateFile::open(folder.path()) {
            let _ = (file.jobs(), file.sized_tasks(job, 0), file.all_tasks(job, 0));
        }
    }
}
