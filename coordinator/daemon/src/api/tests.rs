//! What the description says, against what is read and what answers.

use std::collections::BTreeSet;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
};
use keyloom_client::{Format, Input};
use keyloom_common::{
    ErrorKind,
    described::{Mode, Output, OutputFormat},
    group_keys::GroupKeys,
    output::Compression,
    report::{JobState, LogKind},
    shuffle::Shuffle,
    store::JoinPath,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{document, request::JobRequest};

fn described() -> Value {
    let document = document::routes().into_openapi().to_json().unwrap();
    serde_json::from_str(&document).unwrap()
}

/// The names that are choices where a type is read.
fn choices<T: DeserializeOwned>(wrong: &str) -> BTreeSet<String> {
    let error = serde_json::from_str::<T>(wrong).err().expect("a choice").to_string();
    let (_, choices) = error.split_once("expected one of").expect("several choices");
    choices.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

#[test]
fn the_options_of_inputs_and_outputs_are_described_as_they_are_read() {
    let document = described();
    let check = |name: &str, read: &BTreeSet<String>| {
        let properties = document["components"]["schemas"][name]["properties"].as_object();
        let described: BTreeSet<_> = properties.expect(name).keys().cloned().collect();
        assert_eq!(described, *read, "{name}");
    };
    check("Input", &choices::<Input>(r#"{"nobody": 1}"#));
    check("Output", &choices::<Output>(r#"{"nobody": 1}"#));
}

#[test]
fn words_are_described_as_they_are_read() {
    let document = described();
    let check = |name: &str, read: &BTreeSet<String>| {
        let words = document["components"]["schemas"][name]["enum"].as_array().expect(name);
        let words = words.iter().map(|word| word.as_str().expect("a word").to_owned());
        assert_eq!(words.collect::<BTreeSet<_>>(), *read, "{name}");
    };
    let nobody = "\"nobody\"";
    check("InputFormat", &choices::<Format>(nobody));
    check("OutputFormat", &choices::<OutputFormat>(nobody));
    check("IfExists", &choices::<Mode>(nobody));
    check("Compression", &choices::<Compression>(nobody));
    check("GroupKeys", &choices::<GroupKeys>(nobody));
    check("JoinPath", &choices::<JoinPath>(nobody));
    check("JobState", &choices::<JobState>(nobody));
    check("LogKind", &choices::<LogKind>(nobody));
    check("Shuffle", &choices::<Shuffle>(nobody));
    let kind = |name: String| serde_json::from_value::<ErrorKind>(name.into()).unwrap().name();
    let kinds = choices::<ErrorKind>(nobody).into_iter().map(kind);
    check("ErrorKind", &kinds.map(ToOwned::to_owned).collect());
}

#[test]
fn members_are_always_there_or_never_null() {
    let document = described();
    let mut checked = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
        for (member, described) in schema["properties"].as_object().into_iter().flatten() {
            checked += 1;
            let is_required = required.contains(&&Value::from(member.as_str()));
            assert!(is_required || !may_be_null(described), "{name}.{member}");
        }
    }
    assert!(checked > 80, "{checked}");
    let job = &document["components"]["schemas"]["Job"];
    assert_eq!(
        job["required"].as_array().map(Vec::len),
        job["properties"].as_object().map(|p| p.len())
    );
    let error = &job["properties"]["error"];
    assert_eq!((&error["description"], may_be_null(error)), (&Value::from("Why it failed."), true));
    let request = &document["components"]["schemas"]["JobRequest"];
    assert_eq!(request["required"], serde_json::json!(["sql"]));
    let shuffled = serde_json::json!({
        "$ref": "#/components/schemas/Shuffle",
        "description": "Whether workers shuffle rows among themselves, for groups, joins and \
                        windows. Default never.",
    });
    assert_eq!(request["properties"]["shuffle"], shuffled);
    let output = &document["components"]["schemas"]["Output"]["properties"];
    assert_eq!(output["path"]["type"], "string");
    assert_eq!(output["partition_by"]["type"], "array");
}

/// Whether a schema admits null, as derived ones do.
fn may_be_null(schema: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    let cases = ["oneOf", "anyOf"].into_iter().filter_map(|cases| schema[cases].as_array());
    schema["type"].as_array().is_some_and(|types| types.iter().any(is_null))
        || cases.flatten().any(|case| is_null(&case["type"]) || may_be_null(case))
}

#[test]
fn generators_of_clients_find_what_they_need() {
    let document = described();
    assert_eq!(document["servers"][0]["url"], "/");
    let operations = document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|item| item.as_object().unwrap().values());
    let operations: Vec<_> = operations.collect();
    let names: BTreeSet<_> =
        operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len(), "{names:?}");
    for operation in operations {
        let name = &operation["operationId"];
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let id = serde_json::json!({ "type": "string", "format": "uuid" });
            assert_eq!(parameter["name"], "id", "{name}");
            assert_eq!(parameter["schema"], id, "{name}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            // Of several, generated clients know the first one alone.
            let kinds = response["content"].as_object().map_or(0, |content| content.len());
            assert_eq!(kinds, usize::from(status != "204"), "{name}, {status}");
        }
    }
    let schemas = &document["components"]["schemas"];
    for name in ["Job", "JobLog", "Worker"] {
        assert_eq!(schemas[name]["properties"]["id"]["format"], "uuid", "{name}");
    }
    let arrow = &document["paths"]["/v1/jobs/{id}/results.arrow"]["get"]["responses"]["200"];
    let arrow = &arrow["content"]["application/vnd.apache.arrow.stream"]["schema"];
    assert_eq!(arrow["$ref"], "#/components/schemas/ArrowStream");
    assert_eq!(schemas["ArrowStream"]["format"], "binary");
    let types = serde_json::json!(["string", "integer", "number", "boolean"]);
    assert_eq!(schemas["Value"]["type"], types);
}

#[test]
fn the_description_is_complete() {
    let document = described();
    let paths = document["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
    });
    let expected = [
        "delete /v1/jobs/{id}",
        "get /v1/jobs",
        "get /v1/jobs/{id}",
        "get /v1/jobs/{id}/logs",
        "get /v1/jobs/{id}/results",
        "get /v1/jobs/{id}/results.arrow",
        "get /v1/jobs/{id}/results.csv",
        "get /v1/openapi.json",
        "get /v1/workers",
        "post /v1/jobs",
        "post /v1/jobs/{id}/resume",
        "post /v1/workers/{id}/drain",
    ];
    assert_eq!(methods.collect::<BTreeSet<_>>(), BTreeSet::from(expected.map(String::from)));
    assert_eq!(document["security"], serde_json::json!([{}, { "bearer": [] }]));
    let mut names = BTreeSet::new();
    referred(&document, &mut names);
    assert!(names.contains("Refusal") && names.contains("Job"), "{names:?}");
    for name in names {
        assert!(document["components"]["schemas"][&name].is_object(), "{name}");
    }
}

/// The names of the schemas that something refers to.
fn referred(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str);
            names.extend(name.and_then(|name| name.rsplit('/').next()).map(ToOwned::to_owned));
            members.values().for_each(|value| referred(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| referred(value, names)),
        _ => {}
    }
}

/// What is said of a request.
fn refused(body: &str) -> (StatusCode, String) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    let read = JobRequest::read(&headers, Ok(Bytes::from(body.to_owned())));
    let checked = read.and_then(|request| {
        request.stores()?;
        request.values()?;
        Ok(())
    });
    let refusal = checked.expect_err(body);
    (refusal.status(), refusal.message().to_owned())
}

#[test]
fn mistakes_are_named() {
    let check = |body: &str, words: &str| {
        let (status, message) = refused(body);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(message.contains(words), "{body}: {message}");
    };
    check("{", "the job: EOF while parsing");
    check("{}", "missing field `sql`");
    check("[]", "the job is an object, and no array");
    let inputs = r#"{"sql": "SELECT 1", "inputs": {"t": ["/items.csv"]}}"#;
    check(inputs, "inputs.t is an object, and no array");
    check(r#"{"sql": "SELECT 1", "output": ["/out/"]}"#, "output is an object, and no array");
    check(r#"{"sql": "SELECT 1", "input": {}}"#, "unknown field `input`");
    check(r#"{"sql": "SELECT 1", "id": "7"}"#, "the job: ");
    let null = r#"{"sql": "SELECT 1", "output": {"path": "/out/", "if_exists": null}}"#;
    check(null, "; what is not given is left out, it is not null");
    let inputs = r#"{"sql": "SELECT 1", "inputs": {"t": {"path": "items.csv"}}}"#;
    check(inputs, "inputs.t: path is an absolute path or a URI here, not 'items.csv'");
    let stores = r#"{"sql": "SELECT 1", "stores": {"s": {"kind": "lance", "uri": "s.lance"}}}"#;
    check(stores, "stores.s: uri is an absolute path or a URI here, not 's.lance'");
    check(r#"{"sql": "SELECT 1", "stores": {"s": {"uri": "s"}}}"#, "stores.s: a store needs kind");
    let output = r#"{"sql": "SELECT 1", "output": {"path": "/out/", "if_exists": "upsert"}}"#;
    check(output, "output: if_exists = \"upsert\" is for Lance");
    check(r#"{"sql": "SELECT $a", "params": {"b": 1}}"#, "parameter 'b' is not used");
    check(r#"{"sql": "SELECT $a", "params": {"a": []}}"#, "parameter 'a' is text, a number");
}

#[test]
fn a_request_says_that_it_is_json() {
    let read = JobRequest::read(&HeaderMap::new(), Ok(Bytes::from_static(b"{}")));
    let refusal = read.err().expect("a refusal");
    assert_eq!(refusal.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
