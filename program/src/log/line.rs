//! One line of the log, as text for people or as JSON for programs. Whatever is in it, it is one
//! line: what others name things may hold line ends, and would else forge lines.

use std::{borrow::Cow, fmt::Write};

use keyloom_common::log::LogFormat;
use tracing::Level;
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

use super::fields::Fields;

/// The names that each JSON line has. Fields that are called so go by another name.
const OWN: [&str; 4] = ["timestamp", "level", "target", "message"];

/// Names each of which begins with those before it: `job/stage/task#attempt`.
const NESTED: [&str; 4] = ["job", "stage", "task", "attempt"];

/// A line to be written.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) level: Level,
    /// Which part says it.
    pub(super) target: &'a str,
    pub(super) said: &'a Fields,
    /// What the spans say in which it is said, the outermost first.
    pub(super) spans: &'a [Fields],
}

impl Line<'_> {
    /// The line with its end.
    pub(super) fn write(&self, format: LogFormat, is_colored: bool) -> String {
        let mut line = match format {
            LogFormat::Text => self.text(&now(), Paint(is_colored)),
            LogFormat::Json => self.json(&now()),
        };
        line.push('\n');
        line
    }

    /// Time, level, what the spans add, target, words and fields.
    fn text(&self, now: &str, paint: Paint) -> String {
        let field = |(name, value): &(&str, String)| {
            format!("{}{}{}", paint.slanted(name), paint.faint("="), clean(value))
        };
        let mut line = format!("{} {} ", paint.faint(now), paint.level(self.level));
        let around: Vec<_> = self.around().iter().map(field).collect();
        if !around.is_empty() {
            line += &format!("{{{}}} ", around.join(" "));
        }
        line += &format!("{}{}", paint.faint(&clean(self.target)), paint.faint(":"));
        let words = Some(clean(&self.said.message).into_owned()).filter(|words| !words.is_empty());
        for part in words.into_iter().chain(self.said().iter().map(field)) {
            line.push(' ');
            line += &part;
        }
        line
    }

    fn said(&self) -> Vec<(&'static str, String)> {
        self.said.named.iter().map(|(name, value)| (*name, value.text())).collect()
    }

    /// What the spans say and the line does not, each name once.
    fn around(&self) -> Vec<(&'static str, String)> {
        let said = self.said();
        let mut around: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in self.spans.iter().flat_map(|span| &span.named) {
            around.retain(|(outer, _)| outer != name);
            around.push((*name, value.text()));
        }
        let all = around.clone();
        around.retain(|(name, value)| {
            let is_told = |(known, other): &(&'static str, String)| {
                known != name
                    && NESTED.contains(name)
                    && NESTED.contains(known)
                    && other.starts_with(value.as_str())
            };
            !said.iter().any(|(known, _)| known == name) && !said.iter().chain(&all).any(is_told)
        });
        around
    }

    /// An object of what the line says and what its spans say, of whom the inner ones go before.
    fn json(&self, now: &str) -> String {
        let own = [now, self.level.as_str(), self.target, self.said.message.as_str()];
        let mut members: Vec<(Cow<'_, str>, serde_json::Value)> = Vec::new();
        for (name, value) in OWN.into_iter().zip(own) {
            members.push((name.into(), value.into()));
        }
        let spans = self.spans.iter().rev().flat_map(|span| &span.named);
        for (name, value) in self.said.named.iter().chain(spans) {
            let name = match OWN.contains(name) {
                true => Cow::Owned(format!("field.{name}")),
                false => Cow::Borrowed(*name),
            };
            if members.iter().all(|(known, _)| *known != name) {
                members.push((name, value.json()));
            }
        }
        let members: Vec<_> = members
            .into_iter()
            .map(|(name, value)| format!("{}:{value}", serde_json::Value::from(&*name)))
            .collect();
        escaped(&format!("{{{}}}", members.join(",")))
    }
}

/// The time in UTC, as RFC 3339 writes it.
fn now() -> String {
    let mut now = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    now
}

/// Whether some reader takes a line to end there, or a terminal an order to begin.
fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Text that is one line and nothing but text.
fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(breaks) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match breaks(c) {
            true => clean.extend(c.escape_default()),
            false => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

/// The same JSON, which JSON's own escapes have left as several lines to some.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match breaks(c) {
            // Writing to a string does not fail; all of these are below U+10000.
            true => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            false => escaped.push(c),
        }
    }
    escaped
}

/// Colors and faces for terminals, or none.
#[derive(Clone, Copy, Debug)]
struct Paint(bool);

impl Paint {
    fn faint(self, text: &str) -> String {
        self.with(2, text)
    }

    fn slanted(self, text: &str) -> String {
        self.with(3, text)
    }

    fn level(self, level: Level) -> String {
        let color = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        self.with(color, &format!("{:>5}", level.as_str()))
    }

    fn with(self, code: u8, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fields::Value, *};

    const NOW: &str = "2026-11-26T11:22:40.123456Z";

    fn shown(text: &str) -> Value {
        Value::Shown(text.to_owned())
    }

    fn fields(message: &str, named: &[(&'static str, Value)]) -> Fields {
        Fields { message: message.to_owned(), target: None, named: named.to_vec() }
    }

    /// A line as text, and as JSON.
    fn check(said: &Fields, spans: &[Fields], text: &str, json: &str) {
        let line = Line { level: Level::WARN, target: "keyloom_worker::agent", said, spans };
        assert_eq!(line.text(NOW, Paint(false)), format!("{NOW}  WARN {text}"));
        let json = format!(r#"{{"timestamp":"{NOW}","level":"WARN","target":{json}}}"#);
        assert_eq!(line.json(NOW), json);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["message"], said.message.as_str());
    }

    #[test]
    fn fields_are_as_they_were_given() {
        let named = [
            ("rows", Value::Count(3)),
            ("left", Value::Int(-1)),
            ("seconds", Value::Real(0.5)),
            ("share", Value::Real(f64::INFINITY)),
            ("queued", Value::Bool(true)),
            ("reason", Value::Quoted("it \"left\"".to_owned())),
            ("error", shown("no 'x'")),
        ];
        check(
            &fields("job done", &named),
            &[],
            "keyloom_worker::agent: job done rows=3 left=-1 seconds=0.5 share=inf queued=true \
             reason=\"it \\\"left\\\"\" error=no 'x'",
            "\"keyloom_worker::agent\",\"message\":\"job done\",\"rows\":3,\"left\":-1,\
             \"seconds\":0.5,\"share\":\"inf\",\"queued\":true,\"reason\":\"it \\\"left\\\"\",\
             \"error\":\"no 'x'\"",
        );
    }

    #[test]
    fn spans_add_what_the_line_does_not_say() {
        let job = fields("", &[("job", shown("a"))]);
        let attempt = [("job", "a"), ("task", "a/0/1"), ("attempt", "a/0/1#2"), ("worker", "w")];
        let attempt = fields("", &attempt.map(|(name, value)| (name, shown(value))));
        let spans = [job.clone(), attempt];
        let json = |rest: &str| format!("\"keyloom_worker::agent\",\"message\":\"failed\",{rest}");
        check(
            &fields("failed", &[("error", shown("e"))]),
            &spans,
            "{attempt=a/0/1#2 worker=w} keyloom_worker::agent: failed error=e",
            &json(r#""error":"e","job":"a","task":"a/0/1","attempt":"a/0/1#2","worker":"w""#),
        );
        check(
            &fields("failed", &[("attempt", shown("a/0/1#2"))]),
            &spans,
            "{worker=w} keyloom_worker::agent: failed attempt=a/0/1#2",
            &json(r#""attempt":"a/0/1#2","job":"a","task":"a/0/1","worker":"w""#),
        );
        check(
            &fields("failed", &[]),
            &[job],
            "{job=a} keyloom_worker::agent: failed",
            &json(r#""job":"a""#),
        );
    }

    #[test]
    fn nothing_that_is_logged_forges_a_line_or_speaks_to_a_terminal() {
        let forged = "gone\r\n2026 INFO \u{1b}[31mforged\u{85}\u{2028}";
        check(
            &fields(forged, &[("name", shown("a\nb"))]),
            &[fields("", &[("worker", shown("x\ny"))])],
            "{worker=x\\ny} keyloom_worker::agent: \
             gone\\r\\n2026 INFO \\u{1b}[31mforged\\u{85}\\u{2028} name=a\\nb",
            "\"keyloom_worker::agent\",\"message\":\
             \"gone\\r\\n2026 INFO \\u001b[31mforged\\u0085\\u2028\",\
             \"name\":\"a\\nb\",\"worker\":\"x\\ny\"",
        );
    }

    #[test]
    fn fields_that_are_called_as_each_line_s_own_go_by_another_name() {
        check(
            &fields("said", &[("level", Value::Count(7)), ("target", shown("there"))]),
            &[],
            "keyloom_worker::agent: said level=7 target=there",
            "\"keyloom_worker::agent\",\"message\":\"said\",\"field.level\":7,\
             \"field.target\":\"there\"",
        );
    }

    #[test]
    fn terminals_have_colors() {
        let line = Line { level: Level::INFO, target: "t", said: &fields("m", &[]), spans: &[] };
        let expected = "\x1b[2mnow\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2mt\x1b[0m\x1b[2m:\x1b[0m m";
        assert_eq!(line.text("now", Paint(true)), expected);
    }

    #[test]
    fn times_are_as_rfc_3339_writes_them() {
        let now = now();
        assert!(
            now.len() == NOW.len() && now.ends_with('Z') && now[10..].starts_with('T'),
            "{now}"
        );
    }
}
