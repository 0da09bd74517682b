//! Inputs and stores as flags: `NAME=PATH?OPTION=VALUE&…` and `ALIAS=KIND:PATH?OPTION=VALUE&…`. The
//! options are those of job files.

use keyloom_client::{Input, OwnKind};
use keyloom_common::described::Output;
use serde::Deserialize;
use toml::{Table, Value};
use url::form_urlencoded;

use crate::request::{Store, told};

/// A table's name and its files.
pub(crate) type InputFlag = (String, Input);
/// A store's alias and the store.
pub(crate) type StoreFlag = (String, Store);

/// Reads `NAME=PATH?OPTION=VALUE&…`.
pub(crate) fn input(flag: &str) -> Result<InputFlag, String> {
    let (name, rest) = flag
        .split_once('=')
        .filter(|(name, path)| !name.is_empty() && !path.is_empty())
        .ok_or("write NAME=PATH, as in items=items.parquet")?;
    let (path, query) = split_options(rest);
    Ok((name.to_owned(), input_options(path, query)?))
}

/// Reads `PATH?OPTION=VALUE&…`.
pub(crate) fn unnamed_input(flag: &str) -> Result<Input, String> {
    let (path, query) = split_options(flag);
    input_options(path, query)
}

/// Reads the options of an input.
pub(crate) fn input_options(path: &str, query: &str) -> Result<Input, String> {
    let mut options = options(query, set)?;
    options.insert("path".to_owned(), path.into());
    Input::deserialize(options).map_err(|error| told("an input", &error))
}

/// Reads the options of an output.
pub(crate) fn output_options(path: &str, query: &str) -> Result<Output, String> {
    let mut options = options(query, set)?;
    options.insert("path".to_owned(), path.into());
    Output::deserialize(options).map_err(|error| told("an output", &error))
}

/// Reads `ALIAS=KIND:PATH?OPTION=VALUE&…`.
pub(crate) fn store(flag: &str) -> Result<StoreFlag, String> {
    let form = "write ALIAS=KIND:PATH?key=COLUMN, as in emb=lance:emb.lance?key=item_id; kinds \
                are lance, memory and what the workers know besides";
    let (alias, rest) = flag.split_once('=').filter(|(alias, _)| !alias.is_empty()).ok_or(form)?;
    let (kind, rest) = rest.split_once(':').ok_or(form)?;
    let (path, query) = split_options(rest);
    if path.is_empty() {
        return Err(form.to_owned());
    }
    let own = OwnKind::of(kind);
    // A URI has a scheme where a kind is meant.
    if path.starts_with("//") && own.is_none() {
        return Err(form.to_owned());
    }
    let mut options = options(query, if own.is_some() { set } else { set_text })?;
    let place = if own == Some(OwnKind::Memory) { "path" } else { "uri" };
    if options.contains_key("kind") || options.contains_key(place) {
        return Err(format!("the kind and the path stand before the options: {alias}=KIND:PATH?…"));
    }
    options.insert(place.to_owned(), path.into());
    options.insert("kind".to_owned(), kind.into());
    Ok((alias.to_owned(), Store::read(options)?))
}

/// A path and the options behind it. A question mark may be part of a pattern, too: options begin
/// with a name and an equals sign.
pub(crate) fn split_options(text: &str) -> (&str, &str) {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.%+".contains(c))
    };
    match text.rsplit_once('?') {
        Some((path, query)) if query.split_once('=').is_some_and(|(name, _)| is_name(name)) => {
            (path, query)
        }
        _ => (text, ""),
    }
}

/// Options as a job file has them, each set in this way.
fn options(
    query: &str,
    set: fn(&mut Table, &str, String) -> Result<(), String>,
) -> Result<Table, String> {
    let mut options = Table::new();
    for option in query.split('&') {
        // Before values are decoded: a comma that is written %2C is part of a column's name.
        if let Some(columns) = option.strip_prefix("key=") {
            if options.insert("key".to_owned(), key(columns)).is_some() {
                return Err("key is given twice; write key=COLUMN,COLUMN for several".to_owned());
            }
            continue;
        }
        for (name, value) in form_urlencoded::parse(option.as_bytes()) {
            set(&mut options, &name, value.into_owned())?;
        }
    }
    Ok(options)
}

/// Reads the columns of a key, with commas between.
fn key(columns: &str) -> Value {
    let decoded = |column: &str| -> String {
        let value = format!("={column}");
        form_urlencoded::parse(value.as_bytes()).map(|(_, column)| column.into_owned()).collect()
    };
    match columns.split_once(',') {
        None => decoded(columns).into(),
        Some(_) => columns.split(',').map(decoded).collect::<Vec<_>>().into(),
    }
}

/// Sets an option of an input or of a store that is known here: a value of the type that it has.
fn set(options: &mut Table, name: &str, value: String) -> Result<(), String> {
    let value = match name {
        "version" | "requests_in_flight" | "request_attempts" => {
            let number = value.parse::<i64>();
            number.map_err(|_| format!("{name} is a number, not '{value}'"))?.into()
        }
        // Text has a unit.
        "infer_bytes" | "request_timeout_ms" | "target_file_bytes" => {
            value.parse::<i64>().map_or_else(|_| Value::from(value), Value::from)
        }
        "header" | "hive_partitioning" => {
            let truth = value.parse::<bool>();
            truth.map_err(|_| format!("{name} is true or false, not '{value}'"))?.into()
        }
        "partition_by" => value.split(',').map(ToOwned::to_owned).collect::<Vec<_>>().into(),
        "nulls" => {
            let mut words = match options.remove(name) {
                Some(Value::Array(words)) => words,
                _ => Vec::new(),
            };
            words.push(value.into());
            words.into()
        }
        _ => Value::from(value),
    };
    let (table, name) = match name.split_once('.') {
        None => (options, name),
        Some((outer, inner)) => {
            let table = options.entry(outer).or_insert_with(|| Table::new().into());
            let table = table.as_table_mut();
            (table.ok_or_else(|| format!("write {outer}.{inner}=…, or {outer}=…"))?, inner)
        }
    };
    match table.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is given twice")),
    }
}

/// Sets an option of a kind that the workers alone know: text, whatever options of that name are
/// elsewhere, and no dot in a name means anything.
fn set_text(options: &mut Table, name: &str, value: String) -> Result<(), String> {
    match options.insert(name.to_owned(), value.into()) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use keyloom_client::{Format, KeyPath, RowPath};

    use super::*;

    fn lance(flag: &str) -> keyloom_client::LanceOptions {
        match store(flag).unwrap().1 {
            Store::Lance(options) => options,
            other => panic!("{flag} is no lance store: {other:?}"),
        }
    }

    #[test]
    fn a_lance_store_takes_its_options_from_the_query() {
        let options = lance("emb=lance:s3://bucket/a.lance?key=item%20id&version=3");
        assert_eq!(options.uri, "s3://bucket/a.lance");
        assert_eq!(options.key, Some("item id".into()));
        assert_eq!(options.version, Some(3));
        assert_eq!(lance("emb=lance:a.lance").key, None);
    }

    #[test]
    fn the_columns_of_a_key_have_commas_between() {
        let key = |flag: &str| lance(flag).key.unwrap();
        assert_eq!(key("s=lance:p?key=store,article"), ["store", "article"].into());
        assert_eq!(key("s=lance:p?version=1&key=a%2Cb,c+d"), ["a,b", "c d"].into());
        assert_eq!(key("s=lance:p?key=a%2Cb"), "a,b".into());
        assert_eq!(key("s=lance:p?key=a=b%26c"), "a=b&c".into());
    }

    #[test]
    fn a_lance_store_s_paths_are_chosen_or_forced() {
        let paths = |query: &str| {
            let options = lance(&format!("emb=lance:a.lance?{query}"));
            (options.key_path, options.row_path)
        };
        assert_eq!(paths("key=id"), (None, None));
        assert_eq!(paths("key_path=auto&row_path=auto"), (None, None));
        assert_eq!(
            paths("key_path=btree&row_path=scan"),
            (Some(KeyPath::Btree), Some(RowPath::Scan))
        );
    }

    #[test]
    fn how_a_store_may_be_asked_is_told_in_numbers() {
        let options = lance(
            "emb=lance:s3://b/a?requests_in_flight=4&request_timeout_ms=500&request_attempts=2",
        );
        let numbers =
            (options.requests_in_flight, options.request_timeout_ms, options.request_attempts);
        assert_eq!(numbers, (Some(4), Some(500), Some(2)));
        let refused = store("emb=lance:a.lance?requests_in_flight=few").unwrap_err();
        assert_eq!(refused, "requests_in_flight is a number, not 'few'");
    }

    #[test]
    fn an_input_takes_its_options_from_the_query() {
        let (name, read) = input(
            "v=a/*.csv?delimiter=%3B&header=false&nulls=-&nulls=n%2Fa&columns.zip=text&\
             columns.paid=decimal(10,2)&infer_bytes=100",
        )
        .unwrap();
        let expected = Input {
            infer_bytes: Some(100),
            ..Input::new("a/*.csv")
                .delimiter(";")
                .header(false)
                .nulls(["-", "n/a"])
                .column("zip", "text")
                .column("paid", "decimal(10,2)")
        };
        assert_eq!((name.as_str(), read), ("v", expected));
        assert_eq!(input("v=a-?.csv").unwrap().1, Input::new("a-?.csv"));
        let lance = Input { version: Some(3), ..Input::new("a").format(Format::Lance) };
        assert_eq!(input("v=a?kind=lance&version=3").unwrap().1, lance);
    }

    #[test]
    fn sizes_and_times_may_have_units() {
        let read = |flag: &str| input(flag).map(|(_, input)| input.infer_bytes);
        assert_eq!(read("v=a.csv?infer_bytes=64MiB"), Ok(Some(64 << 20)));
        assert_eq!(read("v=a.csv?infer_bytes=1.5+KiB"), Ok(Some(1536)));
        let wrong = read("v=a.csv?infer_bytes=many").unwrap_err();
        let words = "infer_bytes: 'many' is no size, as \"2GiB\" or \"512MiB\"";
        assert!(wrong.contains(words), "{wrong}");
        assert_eq!(lance("s=lance:a?request_timeout_ms=30s").request_timeout_ms, Some(30_000));
        let wrong = store("s=lance:a?request_timeout_ms=soon").unwrap_err();
        assert!(wrong.contains("request_timeout_ms: 'soon' is no time, as \"30s\""), "{wrong}");
        // Of other kinds, only what is known here.
        let (_, read) = store("s=redis:h:1?request_timeout_ms=1m&idle_ms=2s").unwrap();
        let Store::Other(other) = read else { panic!("it is a redis store") };
        let options = other.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        assert_eq!(
            options.collect::<Vec<_>>(),
            [("idle_ms", "2s"), ("request_timeout_ms", "60000")]
        );
    }

    #[test]
    fn a_memory_store_takes_the_options_of_an_input() {
        let (_, read) = store("s=memory:a.csv?key=id&delimiter=%09&columns.id=text").unwrap();
        let Store::Memory { input, key } = read else { panic!("it is a memory store") };
        assert_eq!(input, Input::new("a.csv").delimiter("\t").column("id", "text"));
        assert_eq!(key, "id".into());
    }

    #[test]
    fn options_of_another_kind_are_passed_on_as_they_are_written() {
        let flag = "s=redis:h:1?key=a,b&version=new&header=maybe&db.index=2&nulls=-&batch_keys=07";
        let Store::Other(other) = store(flag).unwrap().1 else { panic!("it is a redis store") };
        let expected = [
            ("batch_keys", "07"),
            ("db.index", "2"),
            ("header", "maybe"),
            ("nulls", "-"),
            ("version", "new"),
        ];
        let options = other.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        assert_eq!(options.collect::<Vec<_>>(), expected);
        assert_eq!((other.uri.as_str(), other.key), ("h:1", Some(["a", "b"].into())));
    }

    #[test]
    fn mistakes_name_the_choices() {
        let check = |flag: &str, words: &str| {
            let message = store(flag).unwrap_err();
            assert!(message.contains(words), "{flag}: {message}");
        };
        check("emb", "ALIAS=KIND:PATH");
        check("emb=lance:", "ALIAS=KIND:PATH");
        check("emb=s3://bucket/x.lance", "kinds are lance, memory");
        check("emb=a/b:x", "'a/b' is no kind of store");
        check(
            "emb=lance:x?kye=a",
            "'kye' is no option of a lance store; the options are 'uri', 'key'",
        );
        check("emb=lance:x?version=new", "a number");
        check("emb=lance:x?version=1&tag=b", "give one");
        check("emb=lance:x?tag=a&tag=b", "tag is given twice");
        check("emb=lance:x?key=a&key=b", "key is given twice");
        check("emb=memory:x?key=a&kind=lance", "the kind and the path stand before the options");
        check("emb=lance:x?key_path=direct", "key_path is auto, map, scan or btree, not 'direct'");
        check("emb=lance:x?row_path=map", "row_path is auto, take or scan, not 'map'");
        check("emb=memory:x.csv?key=a&key_path=auto", "'key_path' is no option of a memory store");
        check("emb=lance:x?format=csv", "'format' is no option of a lance store");
        check("emb=memory:x.csv", "needs key");
        check("emb=memory:x.csv?key=a&format=xls", "`parquet`, `csv`, `json`, `arrow`");
        check("emb=memory:x.csv?key=a&header=maybe", "header is true or false, not 'maybe'");
        check("s=redis:h:1?db=1&db=2", "db is given twice");
    }
}
