//! How a job ran, as one page for browsers that needs nothing beside itself: the notes, the plan as
//! a tree with times, the stages along the time. It is XML as well as HTML.

use std::fmt::Write;

use keyloom_client::report::{Advice, Analysis, NodeRun, StageRun, words};

use super::advice;

/// How it looks. Nothing of it may need escaping.
const STYLE: &str = "\
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; \
color: #222; background: #fff; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 1.6em; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.25em 0.6em; \
border-bottom: 1px solid #ddd; }
td.number, th.number { text-align: right; white-space: nowrap; }
code, pre { font: 12px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; \
white-space: pre-wrap; }
summary { cursor: pointer; }
.notes li { background: #fff4d6; padding: 0.3em 0.6em; margin: 0.3em 0; list-style: none; }
.notes { padding: 0; }
.stage td { background: #f2f6fa; }
svg rect.bar { fill: #4a7fb5; } svg rect.all { fill: #e8edf2; }
svg text { font: 12px system-ui, sans-serif; fill: #222; }";

/// The width of a bar of a whole, in pixels.
const BAR: f64 = 120.0;

/// The width of the time of a job, and what stands beside it.
const TIMELINE: f64 = 640.0;
const TIMELINE_TEXT: f64 = 240.0;

/// The height of a stage in it.
const STAGE_HEIGHT: usize = 22;

/// The page of a job.
pub(super) fn page(title: &str, analysis: &Analysis, advice: Option<&[Advice]>) -> String {
    let title = escaped(title);
    let mut body = format!("<h1>{title}: {}</h1>\n", words::time(analysis.seconds));
    body.push_str(&notes(analysis));
    body.push_str(&plan(analysis));
    body.push_str(&timeline(analysis));
    if let Some(advice) = advice {
        let advice = escaped(&advice::text(advice));
        let _ = writeln!(body, "<h2>Other ways</h2>\n<pre>{advice}</pre>");
    }
    format!(
        "<!DOCTYPE html>\n\
         <html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n\
         <head>\n<meta charset=\"utf-8\"/>\n<title>{title}</title>\n\
         <style>\n{STYLE}\n</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn notes(analysis: &Analysis) -> String {
    if analysis.notes.is_empty() {
        return String::new();
    }
    let notes = analysis.notes.iter().map(|note| format!("<li>{}</li>\n", escaped(&note.text)));
    format!("<h2>Notes</h2>\n<ul class=\"notes\">\n{}</ul>\n", notes.collect::<String>())
}

fn plan(analysis: &Analysis) -> String {
    let nodes: String = analysis.nodes.iter().map(node).collect();
    format!(
        "<h2>Plan</h2>\n<table>\n<tr><th>Part</th><th class=\"number\">Time</th>\
         <th>Share</th><th class=\"number\">Rows</th></tr>\n{nodes}</table>\n"
    )
}

fn node(node: &NodeRun) -> String {
    let class = if node.is_stage() { " class=\"stage\"" } else { "" };
    let name = match (node.is_stage(), node.stage) {
        (true, Some(stage)) => format!("stage {stage}, on workers"),
        _ => escaped(&node.name),
    };
    let time = if node.seconds > 0.0 { words::time(node.seconds) } else { String::new() };
    let rows = node.rows.map(words::count).unwrap_or_default();
    let metrics: String = node.metrics.iter().filter(|metric| metric.value > 0).fold(
        String::new(),
        |mut text, metric| {
            let store = metric.store.as_ref().map(|store| format!("{store}: ")).unwrap_or_default();
            let _ = writeln!(text, "{}", escaped(&format!("{store}{metric}")));
            text
        },
    );
    let indent = node.depth.min(40) * 16 + 8;
    format!(
        "<tr{class}><td style=\"padding-left: {indent}px\"><details><summary>{name}</summary>\
         <code>{}</code><pre>{metrics}</pre></details></td><td class=\"number\">{time}</td>\
         <td>{}</td><td class=\"number\">{rows}</td></tr>\n",
        escaped(&node.line),
        bar(node.share_percent)
    )
}

/// A share as a bar; nothing if there is none.
fn bar(percent: f64) -> String {
    if percent <= 0.0 {
        return String::new();
    }
    let width = BAR * percent.min(100.0) / 100.0;
    format!(
        "<svg width=\"{BAR:.0}\" height=\"10\" role=\"img\"><rect class=\"all\" \
         width=\"{BAR:.0}\" height=\"10\"/><rect class=\"bar\" width=\"{width:.1}\" \
         height=\"10\"/></svg> {}",
        words::percent(percent)
    )
}

/// When the stages ran.
fn timeline(analysis: &Analysis) -> String {
    if analysis.stages.is_empty() || analysis.seconds <= 0.0 {
        return String::new();
    }
    let height = analysis.stages.len() * STAGE_HEIGHT;
    let stages = analysis.stages.iter().enumerate();
    let stages: String = stages.map(|(line, run)| stage(line, run, analysis.seconds)).collect();
    format!(
        "<h2>Stages</h2>\n<svg width=\"{:.0}\" height=\"{height}\" role=\"img\">\n{stages}</svg>\n",
        TIMELINE + TIMELINE_TEXT
    )
}

fn stage(line: usize, run: &StageRun, all: f64) -> String {
    let top = line * STAGE_HEIGHT;
    let place = |seconds: f64| TIMELINE * (seconds / all).clamp(0.0, 1.0);
    let (start, end) = (place(run.start_seconds), place(run.start_seconds + run.seconds));
    let label = format!(
        "stage {}: {}, {}",
        run.stage,
        words::plural(run.tasks.into(), "task"),
        words::time(run.seconds)
    );
    format!(
        "<rect class=\"all\" y=\"{}\" width=\"{TIMELINE:.0}\" height=\"14\"/>\
         <rect class=\"bar\" x=\"{start:.1}\" y=\"{}\" width=\"{:.1}\" height=\"14\"/>\
         <text x=\"{:.0}\" y=\"{}\">{}</text>\n",
        top + 4,
        top + 4,
        (end - start).max(1.0),
        TIMELINE + 8.0,
        top + 15,
        escaped(&label)
    )
}

/// Text between tags or in quotes. What XML cannot hold is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use keyloom_client::report::{Note, NoteKind, STAGE_NODE};

    use super::*;

    fn ran() -> Analysis {
        let stage = StageRun {
            tasks: 4,
            rows: 4000,
            start_seconds: 0.5,
            seconds: 1.5,
            ..StageRun::default()
        };
        let gather = NodeRun {
            name: STAGE_NODE.to_owned(),
            line: "RemoteExec: stage=0".to_owned(),
            stage: Some(0),
            rows: Some(4000),
            seconds: 1.5,
            share_percent: 75.0,
            ..NodeRun::default()
        };
        let filter = NodeRun {
            depth: 1,
            name: "FilterExec".to_owned(),
            line: "FilterExec: name@0 < <b>\"&\"</b>".to_owned(),
            stage: Some(0),
            ..NodeRun::default()
        };
        let note = Note { kind: NoteKind::Columns, text: "<p>: 1 of 4 columns used".to_owned() };
        Analysis {
            seconds: 2.0,
            stages: vec![stage],
            nodes: vec![gather, filter],
            notes: vec![note],
            ..Analysis::default()
        }
    }

    #[test]
    fn a_page_has_the_notes_the_plan_with_times_and_the_stages() {
        let page = page("job.toml", &ran(), None);
        for part in [
            "<h1>job.toml: 2.00 s</h1>",
            "<summary>stage 0, on workers</summary>",
            "<td class=\"number\">1.50 s</td>",
            "width=\"90.0\" height=\"10\"/></svg> 75%",
            "<rect class=\"bar\" x=\"160.0\" y=\"4\" width=\"480.0\" height=\"14\"/>",
            "stage 0: 4 tasks, 1.50 s",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        assert!(!page.contains("Other ways"), "{page}");
    }

    #[test]
    fn text_is_escaped_wherever_it_stands() {
        let page = page("<i>&'", &ran(), Some(&[]));
        for part in [
            "<title>&lt;i&gt;&amp;&#39;</title>",
            "<li>&lt;p&gt;: 1 of 4 columns used</li>",
            "<code>FilterExec: name@0 &lt; &lt;b&gt;&quot;&amp;&quot;&lt;/b&gt;</code>",
            "<pre>no store that is looked up has several ways to its rows</pre>",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        assert!(!page.contains("<b>") && !page.contains("<i>"), "{page}");
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(escaped("a\u{0}b\u{1b}[1m\n\tc\u{ffff}"), "a\u{fffd}b\u{fffd}[1m\n\tc\u{fffd}");
    }
}
