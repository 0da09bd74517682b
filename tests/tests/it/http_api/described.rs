//! The description of the API, and answers against it: each status has to be described, and so has
//! each member of an answer. Of JSON's schemas this knows what such descriptions have.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::plain::Reply;

/// What a coordinator says of itself.
pub(super) struct Description(Value);

impl Description {
    pub(super) fn read(reply: &Reply) -> Result<Self> {
        let document = reply.json()?;
        let version = document["openapi"].as_str().context("a version")?;
        ensure!(version.starts_with("3.1"), "{version}");
        Ok(Self(document))
    }

    /// Checks what was answered. Of a path that is not described, or that is not asked so, the
    /// refusal is as everywhere.
    pub(super) fn check(&self, method: &str, path: &str, reply: &Reply) -> Result<()> {
        let path = path.split('?').next().unwrap_or(path);
        let paths = self.0["paths"].as_object().context("paths")?;
        let method = method.to_ascii_lowercase();
        let operations = paths.iter().filter(|(template, _)| fits(template, path));
        let operation = operations.map(|(_, item)| &item[&method]).find(|found| !found.is_null());
        let Some(operation) = operation else {
            ensure!(matches!(reply.status, 404 | 405), "{method} {path} is not described");
            let error = json!({ "$ref": "#/components/schemas/Refusal" });
            return self.fit(&error, &reply.json()?, "$");
        };
        let response = &operation["responses"][reply.status.to_string()];
        ensure!(!response.is_null(), "status {} is not described", reply.status);
        let Some(media) = reply.header("content-type") else {
            ensure!(reply.body.is_empty(), "a body of nothing");
            return Ok(());
        };
        let media = media.split(';').next().unwrap_or(media).trim();
        let content = &response["content"][media];
        ensure!(!content.is_null(), "{media} is not described for {}", reply.status);
        match media {
            "application/json" => self.fit(&content["schema"], &reply.json()?, "$"),
            _ => Ok(()),
        }
    }

    /// Checks a value by a schema.
    fn fit(&self, schema: &Value, value: &Value, at: &str) -> Result<()> {
        if let Some(name) = schema["$ref"].as_str() {
            let pointer = name.strip_prefix('#').context("a schema of this document")?;
            let schema = self.0.pointer(pointer).with_context(|| format!("no {name}"))?;
            return self.fit(schema, value, at);
        }
        for choices in ["oneOf", "anyOf"] {
            if let Some(choices) = schema[choices].as_array() {
                let fits = choices.iter().any(|choice| self.fit(choice, value, at).is_ok());
                ensure!(fits, "{at}: {value} is none of {schema}");
            }
        }
        if let Some(all) = schema["allOf"].as_array() {
            all.iter().try_for_each(|schema| self.fit(schema, value, at))?;
        }
        check_type(&schema["type"], value, at)?;
        if let Some(words) = schema["enum"].as_array() {
            ensure!(words.contains(value), "{at}: {value} is none of {words:?}");
        }
        match value {
            Value::Array(items) if !schema["items"].is_null() => {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(index, item)| {
                    self.fit(&schema["items"], item, &format!("{at}[{index}]"))
                })
            }
            Value::Object(_) if schema["type"] == "object" => self.fit_members(schema, value, at),
            _ => Ok(()),
        }
    }

    fn fit_members(&self, schema: &Value, value: &Value, at: &str) -> Result<()> {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            ensure!(value.get(name).is_some(), "{at}: there is no {name}");
        }
        let others = &schema["additionalProperties"];
        for (name, member) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            match schema["properties"].get(name) {
                Some(schema) => self.fit(schema, member, &at)?,
                None if others.is_object() => self.fit(others, member, &at)?,
                None if *others == Value::Bool(true) => {}
                None => bail!("{at} is not described"),
            }
        }
        Ok(())
    }
}

/// Whether a path is one of those that a template describes.
fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(part, given)| part.starts_with('{') || part == given)
}

fn check_type(types: &Value, value: &Value, at: &str) -> Result<()> {
    let is = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    };
    let fits = match types {
        Value::Null => true,
        Value::Array(types) => types.iter().any(is),
        name => is(name),
    };
    ensure!(fits, "{at}: {value} is no {types}");
    Ok(())
}
