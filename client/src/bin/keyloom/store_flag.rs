//! Inputs and stores as flags: `NAME=PATH` and `ALIAS=KIND:PATH?OPTION=VALUE&…`.

use std::str::FromStr;

use keyloom_client::{Format, KeyNames, OnDuplicateKey};
use url::form_urlencoded;

use crate::request::{Input, Kind, Store, StoreOptions};

/// A table's name and its files.
pub(crate) type InputFlag = (String, Input);
/// A store's alias and the store.
pub(crate) type StoreFlag = (String, Store);

/// Reads `NAME=PATH`.
pub(crate) fn input(flag: &str) -> Result<InputFlag, String> {
    let (name, path) = flag
        .split_once('=')
        .filter(|(name, path)| !name.is_empty() && !path.is_empty())
        .ok_or("write NAME=PATH, as in items=items.parquet")?;
    Ok((name.to_owned(), Input { path: path.to_owned(), format: None }))
}

/// Reads `ALIAS=KIND:PATH?OPTION=VALUE&…`.
pub(crate) fn store(flag: &str) -> Result<StoreFlag, String> {
    let form = "write ALIAS=KIND:PATH?key=COLUMN, as in emb=lance:emb.lance?key=item_id; the kinds \
                are lance and memory";
    let (alias, rest) = flag.split_once('=').filter(|(alias, _)| !alias.is_empty()).ok_or(form)?;
    let (kind, rest) = rest.split_once(':').ok_or(form)?;
    let (path, query) = rest.rsplit_once('?').unwrap_or((rest, ""));
    if path.is_empty() {
        return Err(form.to_owned());
    }
    let kind = match kind {
        "lance" => Kind::Lance,
        "memory" => Kind::Memory,
        other => return Err(format!("'{other}' is no kind of store; the kinds are lance, memory")),
    };
    let mut options = StoreOptions::new(kind);
    match kind {
        Kind::Lance => options.uri = Some(path.to_owned()),
        Kind::Memory => options.path = Some(path.to_owned()),
    }
    for option in query.split('&') {
        // Before values are decoded: a comma that is written %2C is part of a column's name.
        if let Some(columns) = option.strip_prefix("key=") {
            options.key = Some(key(columns));
            continue;
        }
        for (name, value) in form_urlencoded::parse(option.as_bytes()) {
            set(&mut options, &name, value.into_owned())?;
        }
    }
    Ok((alias.to_owned(), options.store()?))
}

/// Reads the columns of a key, with commas between.
fn key(columns: &str) -> KeyNames {
    let decoded = |column: &str| {
        let value = format!("={column}");
        form_urlencoded::parse(value.as_bytes()).map(|(_, column)| column.into_owned()).collect()
    };
    match columns.split_once(',') {
        None => KeyNames::One(decoded(columns)),
        Some(_) => KeyNames::Several(columns.split(',').map(decoded).collect()),
    }
}

fn set(options: &mut StoreOptions, name: &str, value: String) -> Result<(), String> {
    match name {
        "tag" => options.tag = Some(value),
        "storage_options" => options.storage_options = Some(value),
        "version" => options.version = Some(number(&value)?),
        "format" => options.format = Some(format(&value)?),
        "on_duplicate_key" => options.on_duplicate_key = Some(on_duplicate_key(&value)?),
        "key_path" => options.key_path = Some(value),
        "row_path" => options.row_path = Some(value),
        other => {
            return Err(format!(
                "'{other}' is no option of a {} store; the options are key, version, tag, \
                 storage_options, on_duplicate_key, key_path and row_path for lance, key and format \
                 for memory",
                options.kind.name()
            ));
        }
    }
    Ok(())
}

fn number(value: &str) -> Result<u64, String> {
    u64::from_str(value).map_err(|_| format!("version is a number, not '{value}'"))
}

fn format(value: &str) -> Result<Format, String> {
    Format::ALL.into_iter().find(|format| format.name() == value).ok_or_else(|| {
        format!("format is {}, not '{value}'", Format::ALL.map(Format::name).join(", "))
    })
}

fn on_duplicate_key(value: &str) -> Result<OnDuplicateKey, String> {
    match value {
        "error" => Ok(OnDuplicateKey::Error),
        "first" => Ok(OnDuplicateKey::First),
        "last" => Ok(OnDuplicateKey::Last),
        other => Err(format!("on_duplicate_key is error, first or last, not '{other}'")),
    }
}

#[cfg(test)]
mod tests {
    use keyloom_client::{KeyPath, RowPath};

    use super::*;

    fn lance(flag: &str) -> keyloom_client::LanceOptions {
        match store(flag).unwrap().1 {
            Store::Lance(options) => options,
            Store::Memory { .. } => panic!("{flag} is a memory store"),
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
    fn mistakes_name_the_choices() {
        let check = |flag: &str, words: &str| {
            let message = store(flag).unwrap_err();
            assert!(message.contains(words), "{flag}: {message}");
        };
        check("emb", "ALIAS=KIND:PATH");
        check("emb=lance:", "ALIAS=KIND:PATH");
        check("emb=redis:x", "the kinds are lance, memory");
        check("emb=lance:x?kye=a", "the options are key");
        check("emb=lance:x?version=new", "a number");
        check("emb=lance:x?version=1&tag=b", "give one");
        check("emb=lance:x?key_path=direct", "key_path is auto, map, scan or btree, not 'direct'");
        check("emb=lance:x?row_path=map", "row_path is auto, take or scan, not 'map'");
        check("emb=memory:x.csv?key=a&key_path=auto", "key_path is no option of a memory store");
        check("emb=lance:x?format=csv", "format is no option of a lance store");
        check("emb=memory:x.csv", "needs key");
        check("emb=memory:x.csv?key=a&format=xls", "parquet, csv, json, arrow");
    }
}
