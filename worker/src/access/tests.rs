use std::{fs, os::unix::fs::symlink};

use keyloom_common::{BlobId, ErrorKind};

use super::*;
use crate::store::StoreSettings;

fn patience() -> Patience {
    Patience::of(&StoreSettings::default())
}

fn list(rules: &[&str]) -> Option<Vec<String>> {
    Some(rules.iter().map(|rule| (*rule).to_owned()).collect())
}

fn within(root: &Path) -> Access {
    let roots = list(&[&root.display().to_string()]);
    Access::new(&AccessSettings { roots, ..AccessSettings::default() }, Vec::new()).unwrap()
}

fn asking(endpoints: &[&str]) -> Access {
    let endpoints = list(endpoints);
    Access::new(&AccessSettings { endpoints, ..AccessSettings::default() }, Vec::new()).unwrap()
}

#[track_caller]
fn check_refused(refused: Result<()>, expected: &str) {
    let error = refused.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, expected));
    assert!(!error.kind().is_transient());
}

/// A folder with a root in it and a file beside that.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(folder.path()).unwrap();
    fs::create_dir(path.join("root")).unwrap();
    fs::write(path.join("root/in.csv"), "x").unwrap();
    fs::write(path.join("secret.csv"), "x").unwrap();
    (folder, path)
}

#[tokio::test]
async fn a_path_is_refused_alike_whether_there_is_something_or_not() {
    let (_kept, folder) = folder();
    let (root, shown) = (folder.join("root"), folder.display().to_string());
    symlink(folder.join("secret.csv"), root.join("link.csv")).unwrap();
    symlink(folder.join("missing.csv"), root.join("dangling.csv")).unwrap();
    symlink(&folder, root.join("up")).unwrap();
    let access = within(&root);
    let refused = [
        "secret.csv",
        "missing.csv",
        "root/../secret.csv",
        "root/../missing.csv",
        "root/link.csv",
        "root/dangling.csv",
        "root/up/secret.csv",
        "root/up/missing.csv",
        "root/none/../../secret.csv",
        "*.csv",
        "root/*/../../secret.csv",
        "root/up/*.csv",
        "rootless/in.csv",
        "",
    ];
    for name in refused {
        for given in [format!("{shown}/{name}"), format!("file://{shown}/{name}")] {
            let given = given.as_str();
            let expected =
                format!("{} is refused: the worker's access.roots do not allow it", redact(given));
            check_refused(access.check_local(given, patience()).await, &expected);
        }
    }
    for given in ["file:///etc/passwd", "file://localhost/etc/passwd", "relative.csv", "~/x"] {
        let refused = access.check_local(given, patience()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{given}");
    }
    let allowed =
        ["root", "root/", "root/in.csv", "root/new/file.csv", "root/*.csv", "root/a/../b"];
    for name in allowed {
        for given in [format!("{shown}/{name}"), format!("file://{shown}/{name}")] {
            assert_eq!(access.check_local(&given, patience()).await, Ok(()), "{given}");
        }
    }
}

#[tokio::test]
async fn a_root_that_is_a_link_is_what_it_leads_to_now() {
    let (_kept, folder) = folder();
    symlink("root", folder.join("current")).unwrap();
    let access = within(&folder.join("current"));
    let file = |name: &str| folder.join(name).display().to_string();
    for name in ["current/in.csv", "root/in.csv"] {
        assert_eq!(access.check_local(&file(name), patience()).await, Ok(()), "{name}");
    }
    fs::remove_file(folder.join("current")).unwrap();
    fs::create_dir(folder.join("next")).unwrap();
    symlink("next", folder.join("current")).unwrap();
    assert_eq!(access.check_local(&file("next/in.csv"), patience()).await, Ok(()));
    assert!(access.check_local(&file("root/in.csv"), patience()).await.is_err());
}

#[tokio::test]
async fn a_path_that_no_system_takes_is_not_looked_at() {
    let (_kept, folder) = folder();
    let access = within(&folder.join("root"));
    let long = folder.join("root").join("a/".repeat(1 << 20));
    assert!(access.check_local(&long.display().to_string(), patience()).await.is_err());
    let refused = access.check_files(vec![long], patience()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn files_of_a_plan_are_named_where_they_are_refused() {
    let (_kept, folder) = folder();
    let access = within(&folder.join("root"));
    let files = |names: &[&str]| names.iter().map(|name| folder.join(name)).collect::<Vec<_>>();
    assert_eq!(access.check_files(files(&["root/in.csv"]), patience()).await, Ok(()));
    let refused = access.check_files(files(&["root/in.csv", "secret.csv"]), patience()).await;
    let given = folder.join("secret.csv");
    let expected =
        format!("{} is refused: the worker's access.roots do not allow it", given.display());
    check_refused(refused, &expected);
}

#[tokio::test]
async fn stores_are_judged_by_their_places_and_by_all_that_is_in_them() {
    let (_kept, folder) = folder();
    let (root, shown) = (folder.join("root"), folder.display().to_string());
    fs::create_dir_all(root.join("a.lance/data")).unwrap();
    fs::create_dir_all(folder.join("b.lance")).unwrap();
    symlink(folder.join("b.lance"), root.join("b.lance")).unwrap();
    let access = within(&root);
    let store = |place: &str| StoreSpec::new("s", LANCE, place);
    let check = async |place: String| access.check_store(&store(&place), patience()).await;
    for place in ["root/a.lance", "root/a.lance/", "root/new.lance"] {
        assert_eq!(check(format!("{shown}/{place}")).await, Ok(()), "{place}");
        assert_eq!(check(format!("file+uring://{shown}/{place}")).await, Ok(()), "{place}");
    }
    let refused = ["b.lance", "root/b.lance", "root/../b.lance", "none.lance"];
    for place in refused.map(|place| format!("{shown}/{place}")) {
        for place in [place.clone(), format!("file-object-store://{place}")] {
            let expected = format!("{place} is refused: the worker's access.roots do not allow it");
            check_refused(check(place).await, &expected);
        }
    }
    for relative in ["a.lance", "~/a.lance", "~", ""] {
        assert!(check(relative.to_owned()).await.is_err(), "{relative}");
    }
    // Another dataset's file, or what would be one, under a name of this one's.
    for target in ["b.lance/data.lance", "none"] {
        let link = root.join("a.lance/data/x.lance");
        symlink(folder.join(target), &link).unwrap();
        let place = format!("{shown}/root/a.lance");
        let expected = format!("{place} is refused: the worker's access.roots do not allow it");
        check_refused(check(place).await, &expected);
        fs::remove_file(link).unwrap();
    }
}

#[tokio::test]
async fn schemes_that_are_not_listed_are_refused_with_those_that_are() {
    let schemes = list(&["s3", "memory"]);
    let settings = AccessSettings { schemes, ..AccessSettings::default() };
    let access = Access::new(&settings, Vec::new()).unwrap();
    let message = "/a.csv is refused: the worker's access.schemes allow s3, memory, not file";
    check_refused(access.check_local("/a.csv", patience()).await, message);
    let url = |text: &str| access.check_url(&Url::parse(text).unwrap(), "", text);
    assert_eq!((url("s3://b/"), url("s3a://b/")), (Ok(()), Ok(())));
    let message = "gs://b/ is refused: the worker's access.schemes allow s3, memory, not gs";
    check_refused(url("gs://b/"), message);
    let content = Some(BlobId::of(b"rows"));
    let memory = StoreSpec { content, ..StoreSpec::new("m", "memory", "") };
    assert_eq!(access.check_store(&memory, patience()).await, Ok(()));
    let redis = StoreSpec::new("r", "redis", "host:6379");
    let message = "host:6379 is refused: the worker's access.schemes allow s3, memory, not redis";
    check_refused(access.check_store(&redis, patience()).await, message);
    let nothing = AccessSettings { schemes: list(&[]), ..AccessSettings::default() };
    let refused = Access::new(&nothing, Vec::new()).unwrap().check_store(&memory, patience()).await;
    let message =
        "a memory store is refused: the worker's access.schemes allow nothing, not memory";
    check_refused(refused, message);
}

#[tokio::test]
async fn hosts_and_buckets_that_are_not_listed_are_refused() {
    let access = asking(&["s3://bucket/shared", "toy://cache:6379"]);
    let store = async |kind: &str, place: &str| {
        access.check_store(&StoreSpec::new("s", kind, place), patience()).await
    };
    assert_eq!(store(LANCE, "s3://bucket/shared/a.lance").await, Ok(()));
    assert_eq!(store("toy", "cache:6379").await, Ok(()));
    assert_eq!(store("toy", "toy://cache:6379/0").await, Ok(()));
    for place in [
        "s3://bucket/other",
        "s3://bucket/shared/../other",
        "s3://bucket/shared/%2e%2e/other",
        "s3://bucket/shared%2f..%2fother",
        "s3://other/shared",
    ] {
        let expected = format!("{place} is refused: the worker's access.endpoints do not allow it");
        let error = store(LANCE, place).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{place}");
        assert!(error.message().ends_with("access.endpoints do not allow it"), "{error}");
        let is_plain = !place.contains("..") && !place.contains("%2e");
        assert!(error.message() == expected || !is_plain, "{error}");
    }
    assert!(store("toy", "elsewhere:6379").await.is_err());
    // Lance reads them as URLs.
    for place in ["s3:\t//other/shared", "s3:/\n/other/shared"] {
        let error = store(LANCE, place).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{place:?}");
    }
    // Files are no matter of this list.
    assert_eq!(store(LANCE, "/data/a.lance").await, Ok(()));
}

#[tokio::test]
async fn a_job_sends_no_profiles_credentials_to_a_host_of_its_own() {
    let mut spec = StoreSpec::new("s", LANCE, "s3://bucket/a.lance");
    spec.options.set("aws_endpoint", Some("http://me:pw@evil.example/"));
    assert_eq!(Access::default().check_store(&spec, patience()).await, Ok(()));
    spec.options.set(STORAGE_OPTIONS, Some("prod"));
    let message = "option aws_endpoint = \"http://evil.example/\" is refused beside storage \
                   profile 'prod', whose credentials would go there: the worker's \
                   access.endpoints do not name it";
    check_refused(Access::default().check_store(&spec, patience()).await, message);
    let allowed = asking(&["s3://bucket", "http://me@evil.example"]);
    assert_eq!(allowed.check_store(&spec, patience()).await, Ok(()));
    let others = asking(&["s3://bucket", "http://minio:9000"]);
    let message = "option aws_endpoint = \"http://evil.example/\" is refused: the worker's \
                   access.endpoints do not allow it";
    check_refused(others.check_store(&spec, patience()).await, message);

    let mut toy = StoreSpec::new("s", "toy", "evil:1");
    assert_eq!(Access::default().check_store(&toy, patience()).await, Ok(()));
    toy.options.set(STORAGE_OPTIONS, Some("prod"));
    let message = "evil:1 is refused beside storage profile 'prod', whose credentials would go \
                   there: the worker's access.endpoints do not name it";
    check_refused(Access::default().check_store(&toy, patience()).await, message);
    assert_eq!(asking(&["toy://evil:1"]).check_store(&toy, patience()).await, Ok(()));
}

#[test]
fn rules_that_are_none_are_named() {
    let settings = AccessSettings { roots: list(&["data"]), ..AccessSettings::default() };
    let error = Access::new(&settings, Vec::new()).unwrap_err();
    let message = "setting access.roots must be absolute paths or file:/// URLs, not 'data'";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
}

#[tokio::test]
async fn the_workers_own_files_are_refused_by_whatever_name_and_whatever_is_allowed() {
    let (_kept, folder) = folder();
    let (key, root) = (folder.join("root/key.pem"), folder.join("root"));
    fs::write(&key, "old").unwrap();
    symlink(&key, root.join("link.csv")).unwrap();
    symlink(&folder, root.join("up")).unwrap();
    fs::hard_link(&key, folder.join("hard.csv")).unwrap();
    let roots = list(&[&folder.display().to_string()]);
    let lists = [
        AccessSettings::default(),
        AccessSettings { roots, schemes: list(&["file"]), endpoints: None },
    ];
    let why = "is refused: it is a file that the worker's own settings name";
    for settings in lists {
        let access = Access::new(&settings, vec![folder.join("none.pem"), key.clone()]).unwrap();
        for name in ["root/key.pem", "root/link.csv", "root/up/root/key.pem", "hard.csv"] {
            let path = folder.join(name);
            for given in [path.display().to_string(), format!("file://{}", path.display())] {
                let refused = access.check_local(&given, patience()).await;
                check_refused(refused, &format!("{} {why}", redact(&given)));
            }
            let files = vec![folder.join("secret.csv"), path.clone()];
            let expected = format!("{} {why}", path.display());
            check_refused(access.check_not_own(files.clone(), patience()).await, &expected);
            check_refused(access.check_files(files, patience()).await, &expected);
            let given = path.display().to_string();
            let refused = access.check_dataset(&given, patience()).await;
            check_refused(refused, &format!("{given} {why}"));
        }
        let other = folder.join("secret.csv").display().to_string();
        assert_eq!(access.check_local(&other, patience()).await, Ok(()));
        // What takes its place when it is renewed is its own, too.
        fs::write(folder.join("new.pem"), "new").unwrap();
        fs::rename(folder.join("new.pem"), &key).unwrap();
        let given = key.display().to_string();
        check_refused(access.check_local(&given, patience()).await, &format!("{given} {why}"));
        fs::remove_file(folder.join("hard.csv")).unwrap();
        fs::hard_link(&key, folder.join("hard.csv")).unwrap();
    }
}
