//! What a job file may say, and its mistakes, with the line and the choices.

use keyloom_common::described::Mode;

use super::*;

#[test]
fn paths_are_relative_to_the_file() {
    let text = "
        [inputs.items]
        path = 'data/'
        [stores.emb]
        kind = 'lance'
        uri = 's3://bucket/emb.lance'
        [stores.more]
        kind = 'memory'
        path = '/abs/more.csv'
        key = 'id'
        [job]
        sql = 'SELECT 1'
        output = '../out.parquet'
    ";
    let request = parse(text, Path::new("jobs")).unwrap();
    assert_eq!(request.inputs["items"].path, "jobs/data/");
    assert_eq!(request.folder, Path::new("jobs"));
    assert_eq!(request.output, Some(Target::File(OutputFile::new("jobs/../out.parquet"))));
    assert!(matches!(&request.stores["emb"], Store::Lance(o) if o.uri == "s3://bucket/emb.lance"));
    assert!(
        matches!(&request.stores["more"], Store::Memory { input, .. } if input.path == "/abs/more.csv")
    );
}

#[test]
fn a_key_is_a_column_or_several() {
    let text = "
        [stores.stock]
        kind = 'lance'
        uri = 'stock.lance'
        key = ['store', 'article']
        [stores.more]
        kind = 'memory'
        path = 'more.csv'
        key = ['id', 'day']
        [stores.plain]
        kind = 'lance'
        uri = 'plain.lance'
        [job]
        sql = 'SELECT 1'
    ";
    let request = parse(text, Path::new("")).unwrap();
    let lance = |alias: &str| match &request.stores[alias] {
        Store::Lance(options) => options.key.clone(),
        Store::Memory { .. } | Store::Other(_) => None,
    };
    assert_eq!(lance("stock"), Some(["store", "article"].into()));
    assert_eq!(lance("plain"), None);
    assert!(
        matches!(&request.stores["more"], Store::Memory { key, .. } if *key == ["id", "day"].into())
    );
}

#[test]
fn sizes_and_times_may_have_units() {
    let text = "
        [inputs.items]
        path = 'items.csv'
        infer_bytes = '64MiB'
        [stores.emb]
        kind = 'lance'
        uri = 'emb.lance'
        request_timeout_ms = '30s'
        [stores.more]
        kind = 'memory'
        path = 'more.csv'
        key = 'id'
        infer_bytes = '1KB'
        columns = { size_bytes = 'text' }
        [job]
        sql = 'SELECT 1'
    ";
    let request = parse(text, Path::new("")).unwrap();
    assert_eq!(request.inputs["items"].infer_bytes, Some(64 << 20));
    assert!(
        matches!(&request.stores["emb"], Store::Lance(o) if o.request_timeout_ms == Some(30_000))
    );
    assert!(
        matches!(&request.stores["more"], Store::Memory { input, .. } if input.infer_bytes == Some(1000))
    );
}

#[test]
fn an_output_is_a_path_or_a_table_with_options() {
    let output = |output: &str| {
        let text = format!("[job]\nsql = 'SELECT 1'\noutput = {output}");
        parse(&text, Path::new("jobs")).map(|request| request.output.unwrap())
    };
    let file = OutputFile::new("jobs/out.parquet");
    assert_eq!(output("'out.parquet'").unwrap(), Target::File(file.clone()));
    assert_eq!(output("{ path = 'out.parquet' }").unwrap(), Target::File(file.clone()));
    let kept = Target::File(OutputFile { arrow_types: true, ..file });
    assert_eq!(output("{ path = 'out.parquet', arrow_types = true }").unwrap(), kept);
    let message = output("{ path = 'x', types = 1 }").unwrap_err().message;
    assert!(message.contains("expected `path` or `arrow_types`"), "{message}");
    let message = output("{ arrow_types = true }").unwrap_err().message;
    assert!(message.contains("missing field `path`"), "{message}");
    let message = output("3").unwrap_err().message;
    assert!(message.contains("a path, or a table with path and arrow_types"), "{message}");
}

#[test]
fn an_output_of_workers_has_a_section() {
    let job = "[job]\nsql = 'SELECT 1'\n";
    let output = |lines: &str| {
        let request = parse(&format!("{job}[output]\n{lines}"), Path::new("jobs"));
        request.map(|request| request.output)
    };
    let check = |lines: &str, expected: Output| {
        assert_eq!(output(lines).unwrap(), Some(Target::Workers(Box::new(expected))), "{lines}");
    };
    check("path = 'out/'", Output::new("jobs/out/"));
    check("path = 's3://bucket/out/'", Output::new("s3://bucket/out/"));
    check(
        "path = '/data/out.lance'\nif_exists = 'append'",
        Output::new("/data/out.lance").if_exists(Mode::Append),
    );
    let message = output("path = 'out/'\nif_exists = 'upsert'").unwrap_err().message;
    assert!(message.starts_with("[output]: if_exists = \"upsert\" is for Lance"), "{message}");
    let both = format!("{job}output = 'out.csv'\n[output]\npath = 'out/'");
    let message = parse(&both, Path::new("")).unwrap_err().message;
    assert!(message.ends_with("leave out one of them"), "{message}");
}

#[test]
fn parameters_have_defaults() {
    let params = |lines: &str| {
        let text = format!("[job]\nsql = 'SELECT $day'\n[params]\n{lines}");
        parse(&text, Path::new("")).map(|request| request.params)
    };
    let of = |name: &str, value: &str| -> BTreeMap<String, String> {
        [(name.to_owned(), value.to_owned())].into()
    };
    assert_eq!(params("day = '2024-01-31'").unwrap(), of("day", "2024-01-31"));
    assert_eq!(params("day = 2024-01-31").unwrap(), of("day", "2024-01-31"));
    assert_eq!(params("least = 7").unwrap(), of("least", "7"));
    let message = params("day = []").unwrap_err().message;
    assert_eq!(message, "the default of parameter 'day' is a text or a number");
}

#[test]
fn a_job_may_say_whether_its_rows_are_shuffled() {
    let shuffle = |lines: &str| {
        let text = format!("[job]\nsql = 'SELECT 1'\n{lines}");
        parse(&text, Path::new("")).unwrap().shuffle
    };
    assert_eq!(shuffle(""), ShuffleChoice::default());
    let lines = "shuffle = 'auto'\nshuffle_min_rows = 1000\nshuffle_partitions = 8";
    let (min_rows, partitions) = (Some(1000), Some(8));
    let expected = ShuffleChoice { shuffle: Some(Shuffle::Auto), min_rows, partitions };
    assert_eq!(shuffle(lines), expected);
}

#[test]
fn a_job_may_say_whether_its_rows_are_grouped_by_keys_first() {
    let group_keys = |line: &str| {
        let text = format!("[job]\nsql = 'SELECT 1'\n{line}");
        parse(&text, Path::new("")).unwrap().group_keys
    };
    assert_eq!(group_keys(""), None);
    for choice in [GroupKeys::Never, GroupKeys::Auto, GroupKeys::Always] {
        assert_eq!(group_keys(&format!("group_keys = '{choice}'")), Some(choice));
    }
}

#[test]
fn missing_keys_have_a_limit_and_a_file() {
    let misses = |lines: &str| {
        let text = format!("[job]\nsql = 'SELECT 1'\n{lines}");
        parse(&text, Path::new("jobs")).unwrap().misses
    };
    assert_eq!(misses(""), Misses::default());
    let percent = misses("max_misses = '1%'\nmisses = 'missed.csv'");
    let file = Some(OutputFile::new("jobs/missed.csv"));
    assert_eq!(percent, Misses { max: Some(MaxMisses::Share(10_000)), file });
    assert_eq!(misses("max_misses = 7").max, Some(MaxMisses::Count(7)));
}

#[test]
fn mistakes_name_the_line_and_the_choices() {
    let check = |text: &str, line: usize, words: &str| {
        let mistake = parse(text, Path::new("")).unwrap_err();
        assert_eq!(position(text, mistake.at).0, line, "{text}: {mistake:?}");
        assert!(mistake.message.contains(words), "{text}: {mistake:?}");
    };
    let job = "[job]\nsql = 'SELECT 1'\n";
    check(&format!("{job}outptu = 'x'"), 3, "`current_store`, `join_path`, `shuffle`");
    check(&format!("{job}shuffle = 'yes'"), 3, "expected one of `auto`, `never`, `always`");
    check(&format!("{job}group_keys = 'once'"), 3, "expected one of `never`, `auto`, `always`");
    check(&format!("{job}shuffle_partitions = 'all'"), 3, "invalid type: string");
    check(&format!("{job}max_misses = '1 in 7'"), 3, "max_misses is a number of rows");
    check(&format!("{job}max_misses = -7"), 3, "max_misses is a number of rows");
    check(&format!("{job}[inputs.a]\npth = 'x'"), 4, "expected one of `path`, `uri`, `format`");
    check(&format!("{job}[inputs.a]\npath = 'x'\nformat = 'xls'"), 5, "`parquet`, `csv`");
    let size = "infer_bytes: 'many' is no size, as \"2GiB\"";
    check(&format!("{job}[inputs.a]\npath = 'x'\ninfer_bytes = 'many'"), 5, size);
    let time = "request_timeout_ms: 'soon' is no time, as \"30s\"";
    let lance = "[stores.a]\nkind = 'lance'\nuri = 'x'\nrequest_timeout_ms = 'soon'";
    check(&format!("{job}{lance}"), 3, time);
    check(&format!("{job}[stores.a]\nkind = 3"), 3, "`lance` or `memory`, not");
    check(&format!("{job}[stores.a]\nkind = 'redis'"), 3, "a redis store needs uri");
    check(&format!("{job}[stores.a]\nkind = 'lance'"), 3, "a lance store needs uri");
    check(
        &format!("{job}[stores.a]\nkind = 'lance'\nuri = 'x'\nkey_path = 'index'"),
        3,
        "[stores.a]: options of a lance store: key_path is auto, map, scan or btree, not 'index'",
    );
    check(
        &format!("{job}[stores.a]\nkind = 'lance'\nuri = 'x'\nkey = 5"),
        3,
        "key is the name of a column or a list of names",
    );
    check(
        &format!("{job}\n[stores.a]\nkind = 'memory'\nuri = 'x'"),
        4,
        "[stores.a]: a memory store needs key",
    );
}
