//! What is told of a plan: as text, as JSON, or as a page.

use keyloom_client::report::{Advice, Analysis};
use serde::Serialize;

use super::{advice, page};
use crate::{cli::Form, error::Failure, text, watch::Watch};

/// A plan, how it ran, and what its other ways would cost.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    plan: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    analysis: Option<Analysis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<Vec<Advice>>,
}

impl Explained {
    /// A plan that was not run.
    pub(super) fn planned(plan: String) -> Self {
        Self { plan, analysis: None, advice: None }
    }

    /// A plan that was run.
    pub(super) fn ran(analysis: Analysis) -> Self {
        Self { plan: analysis.plan(), analysis: Some(analysis), advice: None }
    }

    /// The same, with what other ways would cost, if that was asked.
    pub(super) fn with_advice(self, advice: Option<Vec<Advice>>) -> Self {
        Self { advice, ..self }
    }

    /// Writes it to stdout.
    pub(crate) fn print(&self, form: Form, watch: &Watch) -> Result<(), Failure> {
        watch.end();
        match form {
            Form::Table => text::print(&self.text()),
            // A tree of numbers and strings can always be written.
            Form::Json => text::print(&serde_json::to_string(self).unwrap_or_default()),
        }
    }

    /// The page of what was run, under a title.
    pub(super) fn page(&self, title: &str) -> String {
        let analysis = self.analysis.clone().unwrap_or_default();
        page::page(title, &analysis, self.advice.as_deref())
    }

    fn text(&self) -> String {
        let mut text = match &self.analysis {
            Some(analysis) => analysis.to_string(),
            None => self.plan.clone(),
        };
        if let Some(advice) = &self.advice {
            text = format!("{}\n\n{}", text.trim_end(), advice::text(advice));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use keyloom_client::report::{Note, NoteKind};

    use super::*;

    fn ran() -> Explained {
        let note = Note { kind: NoteKind::Columns, text: "a: 1 of 4 columns used".to_owned() };
        Explained::ran(Analysis { seconds: 1.0, notes: vec![note], ..Analysis::default() })
    }

    #[test]
    fn advice_follows_the_plan_or_how_it_ran() {
        let none = "no store that is looked up has several ways to its rows";
        let planned = Explained::planned("Plan\n".to_owned());
        assert_eq!(planned.text(), "Plan\n");
        let advised = planned.with_advice(Some(Vec::new()));
        assert_eq!(advised.text(), format!("Plan\n\n{none}"));
        let expected = format!("elapsed: 1.00 s\nnotes:\n- a: 1 of 4 columns used\n\n{none}");
        assert_eq!(ran().with_advice(Some(Vec::new())).text(), expected);
    }

    #[test]
    fn the_names_in_json_stay() {
        let json = |explained: &Explained| serde_json::to_value(explained).unwrap();
        let planned = Explained::planned("Plan".to_owned());
        assert_eq!(json(&planned), serde_json::json!({"plan": "Plan"}));
        let ran = json(&ran());
        assert_eq!(ran["analysis"]["seconds"], 1.0);
        let note = serde_json::json!({"kind": "columns", "text": "a: 1 of 4 columns used"});
        assert_eq!(ran["analysis"]["notes"][0], note);
        let names: Vec<_> = ran["analysis"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["nodes", "notes", "seconds", "slots", "stages", "stores"]);
    }
}
