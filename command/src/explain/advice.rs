//! What other ways to the rows of stores would cost, in words.

use keyloom_client::report::Advice;

/// The advice of a plan.
pub(super) fn text(advice: &[Advice]) -> String {
    if advice.is_empty() {
        return "no store that is looked up has several ways to its rows".to_owned();
    }
    let each: Vec<_> = advice.iter().map(ToString::to_string).collect();
    format!("ways to rows, and what they are estimated to cost:\n{}", each.join(""))
}
