use std::{collections::HashMap, fs, path::PathBuf};

use keyloom_common::ErrorKind;
use object_store::{PutPayload, memory::InMemory};
use tempfile::TempDir;

use super::*;
use crate::{
    access::{Access, AccessSettings},
    samples::input,
    store::{Patience, StoreSettings},
};

/// A folder with these files, each of one byte unless its name ends in `.empty`.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, if file.ends_with(".empty") { "" } else { "x" }).unwrap();
    }
    folder
}

/// Paths below a folder, and those of the folder that columns start from.
async fn listed(folder: &TempDir, path: &str) -> Result<(String, Vec<String>)> {
    let root = fs::canonicalize(folder.path()).unwrap();
    let stores = ObjectStores::new(HashMap::new(), Patience::of(&StoreSettings::default()));
    let listed = list(&stores, &input(&format!("{}/{path}", root.display()))).await?;
    assert_eq!(listed.location, Location { url: "file:///".to_owned(), profile: None });
    let root = Path::from_absolute_path(&root).unwrap();
    let below = |path: &Path| below_path(&root, path).unwrap_or_default().to_owned();
    let files = listed.files.iter().map(|file| below(&file.location)).collect();
    Ok((below(&listed.base), files))
}

async fn check(folder: &TempDir, path: &str, base: &str, files: &[&str]) {
    let expected = files.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(listed(folder, path).await, Ok((base.to_owned(), expected)), "{path}");
}

async fn refused(folder: &TempDir, path: &str) -> (ErrorKind, String) {
    let error = listed(folder, path).await.unwrap_err();
    (error.kind(), error.message().to_owned())
}

#[tokio::test]
async fn a_file_a_folder_and_patterns_are_listed_in_order() {
    let data = folder(&["b.csv", "a.csv", "sub/c.csv", "sub/deep/d.csv", "z.empty", "sub2/e.txt"]);
    check(&data, "b.csv", "", &["b.csv"]).await;
    check(&data, "z.empty", "", &["z.empty"]).await;
    let all = ["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "sub2/e.txt", "z.empty"];
    check(&data, "", "", &all).await;
    check(&data, "sub", "sub", &["sub/c.csv", "sub/deep/d.csv"]).await;
    check(&data, "sub/", "sub", &["sub/c.csv", "sub/deep/d.csv"]).await;
    check(&data, "*.csv", "", &["a.csv", "b.csv"]).await;
    check(&data, "*/*.csv", "", &["sub/c.csv"]).await;
    check(&data, "sub/**/*.csv", "sub", &["sub/c.csv", "sub/deep/d.csv"]).await;
    check(&data, "sub/../?.csv", "", &["a.csv", "b.csv"]).await;
}

#[tokio::test]
async fn what_is_hidden_is_passed_over_but_for_partitions() {
    let data = folder(&[
        "a.csv",
        "_SUCCESS",
        ".a.csv.crc",
        "_temporary/0/b.csv",
        ".cache/c.csv",
        "_year=2020/d.csv",
        "_year=2020/_e.csv",
    ]);
    check(&data, "", "", &["_year=2020/d.csv", "a.csv"]).await;
    check(&data, "**/*.csv", "", &["_year=2020/d.csv", "a.csv"]).await;
    check(&data, "_temporary", "_temporary", &["_temporary/0/b.csv"]).await;
    check(&data, "_SUCCESS", "", &["_SUCCESS"]).await;
}

#[tokio::test]
async fn names_may_hold_anything() {
    let names = ["100% [a].csv", "a b.csv", "a%20b.csv", "day=1%2F2/x.csv", "ü?.csv"];
    let data = folder(&names);
    check(&data, "", "", &names).await;
    for name in names {
        let base = name.rsplit_once('/').map_or("", |(base, _)| base);
        check(&data, name, base, &[name]).await;
    }
    check(&data, "day=1%2F2", "day=1%2F2", &["day=1%2F2/x.csv"]).await;
    check(&data, "a*", "", &["a b.csv", "a%20b.csv"]).await;
}

#[tokio::test]
async fn nothing_found_is_an_error() {
    let data = folder(&["sub/.hidden"]);
    let none = (ErrorKind::NotFound, "no such file, or a folder without files".to_owned());
    for path in ["missing.csv", "missing/", "sub", "sub/", ""] {
        assert_eq!(refused(&data, path).await, none, "{path}");
    }
    let none = (ErrorKind::NotFound, "no file fits the pattern".to_owned());
    assert_eq!(refused(&data, "*.csv").await, none);
    assert_eq!(refused(&data, "missing/**/*.csv").await, none);
}

#[tokio::test]
async fn files_that_come_and_go_are_seen() {
    let data = folder(&["a.csv"]);
    check(&data, "", "", &["a.csv"]).await;
    fs::write(data.path().join("b.csv"), "x").unwrap();
    check(&data, "", "", &["a.csv", "b.csv"]).await;
    fs::remove_file(data.path().join("a.csv")).unwrap();
    check(&data, "", "", &["b.csv"]).await;
}

#[tokio::test]
async fn tables_of_other_kinds_are_not_taken_for_folders_of_files() {
    let lance = "is a Lance dataset, whose files are not all rows of its newest version; read it \
                 with format = \"lance\", and other files with a pattern";
    let data = folder(&[
        "rows.csv",
        "cities.lance/data/a.lance",
        "cities.lance/_versions/1.manifest",
        "cities.lance/_transactions/1.txn",
        "delta/part-0.parquet",
        "delta/year=1/part-0.parquet",
        "delta/_delta_log/00000000000000000000.json",
        "ice/data/a.parquet",
        "ice/metadata/v1.metadata.json",
        "hudi/a.parquet",
        "hudi/.hoodie/hoodie.properties",
        "metadata/a.csv",
    ]);
    let invalid = |message: String| (ErrorKind::Invalid, message);
    assert_eq!(refused(&data, "cities.lance").await, invalid(format!("it {lance}")));
    let whole = invalid(format!("its folder cities.lance {lance}"));
    assert_eq!(refused(&data, "").await, whole);
    for (path, kind) in [
        ("delta", "it is a Delta table"),
        ("ice", "it is an Iceberg table"),
        ("hudi", "it is a Hudi"),
    ] {
        let (kind_of_error, message) = refused(&data, path).await;
        assert_eq!(kind_of_error, ErrorKind::Invalid);
        assert!(message.starts_with(kind), "{message}");
    }
    assert!(refused(&data, "delta/*.parquet").await.1.starts_with("it is a Delta table"));
    assert!(refused(&data, "delta/**/*.parquet").await.1.starts_with("it is a Delta table"));
    check(&data, "*.csv", "", &["rows.csv"]).await;
    check(&data, "metadata", "metadata", &["metadata/a.csv"]).await;
    check(&data, "delta/part-0.parquet", "delta", &["delta/part-0.parquet"]).await;
}

#[tokio::test]
async fn objects_that_stand_for_folders_are_no_files() {
    let store = InMemory::new();
    for (path, contents) in [
        ("base", ""),
        ("base/sub", ""),
        ("base/sub/a.csv", "x"),
        ("base/b.csv", ""),
        ("base/c_$folder$", ""),
    ] {
        store.put(&Path::from(path), PutPayload::from_static(contents.as_bytes())).await.unwrap();
    }
    let base = Path::from("base");
    let mut files = find(&store, &base, &Target::Folder).await.unwrap();
    files.sort_by(|one, other| one.location.cmp(&other.location));
    let paths: Vec<_> = files.iter().map(|file| file.location.to_string()).collect();
    assert_eq!(paths, ["base/b.csv", "base/sub/a.csv"]);
}

#[test]
fn too_many_files_are_refused() {
    let base = Path::default();
    let file = |number: usize| ObjectMeta {
        location: Path::from(format!("{number}.csv")),
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: 1,
        e_tag: None,
        version: None,
    };
    let mut found = Found::default();
    for number in 0..MAX_FILES {
        found.take(&base, file(number), |_| true).unwrap();
    }
    let error = found.take(&base, file(MAX_FILES), |_| true).unwrap_err();
    let expected = "more than 100000 files; name fewer of them, or write larger ones";
    assert_eq!(error, Error::invalid(expected));
    let mut found = Found { listed: MAX_LISTED, ..Found::default() };
    let error = found.take(&base, file(0), |_| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_url_with_blanks_in_its_scheme_is_no_way_around_the_roots() {
    let folder = folder(&["root/a.csv", "secret.csv"]);
    let path = fs::canonicalize(folder.path()).unwrap().display().to_string();
    let roots = Some(vec![format!("{path}/root")]);
    let access =
        Access::new(&AccessSettings { roots, ..AccessSettings::default() }, Vec::new()).unwrap();
    let patience = Patience::of(&StoreSettings::default());
    let stores = ObjectStores::new(HashMap::new(), patience).limited(access);
    let kind_of = async |given: String| list(&stores, &input(&given)).await.err().unwrap().kind();
    for scheme in [" file", "\nfile", "fi\tle"] {
        for file in ["secret.csv", "missing.csv", "root/a.csv"] {
            let given = format!("{scheme}://{path}/{file}");
            assert_eq!(kind_of(given).await, ErrorKind::Invalid, "{scheme:?} {file}");
        }
    }
    assert_eq!(kind_of(format!("file://{path}/secret.csv")).await, ErrorKind::PermissionDenied);
    let listed = list(&stores, &input(&format!("file://{path}/root/*.csv"))).await;
    assert_eq!(listed.map(|listed| listed.files.len()), Ok(1));
}

#[tokio::test]
async fn a_folder_or_a_pattern_with_one_of_the_workers_own_files_is_refused() {
    let folder = folder(&["data/a.csv", "data/key.csv", "data/b.txt"]);
    let path = fs::canonicalize(folder.path()).unwrap().display().to_string();
    let own = vec![PathBuf::from(format!("{path}/data/key.csv"))];
    let access = Access::new(&AccessSettings::default(), own).unwrap();
    let patience = Patience::of(&StoreSettings::default());
    let stores = ObjectStores::new(HashMap::new(), patience).limited(access);
    for given in [format!("{path}/data"), format!("{path}/data/"), format!("{path}/*/*.csv")] {
        let error = list(&stores, &input(&given)).await.err().unwrap();
        let expected = format!(
            "{path}/data/key.csv is refused: it is a file that the worker's own settings name"
        );
        assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, &*expected));
    }
    let listed = list(&stores, &input(&format!("{path}/data/a.*"))).await;
    assert_eq!(listed.map(|listed| listed.files.len()), Ok(1));
}

#[tokio::test]
async fn a_path_that_is_longer_than_any_is_refused_before_it_is_taken_apart() {
    let folder = folder(&["a.csv"]);
    let (kind, message) = refused(&folder, &"*/".repeat(1 << 20)).await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(message.ends_with("bytes, more than 8192"), "{message}");
}
