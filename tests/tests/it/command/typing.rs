//! `keyloom shell` on a terminal: Tab completes names, what was typed is kept for the next shell, and
//! Ctrl-C and Ctrl-D do what they do elsewhere.

use std::fs;

use anyhow::Result;

use super::{Keyloom, terminal::Terminal};
use crate::harness::{Deployment, TestSession, on_all_deployments, products, write_lance};

on_all_deployments! {
    tab_completes_stores_and_the_columns_of_those_that_were_opened,
}

const PROMPT: &str = "keyloom> ";

/// What it answers is nothing that anybody types.
const STATEMENT: &str = "SELECT 'forty' || '-two' AS answer;";
const ANSWER: &str = "forty-two\n";

const ENTER: &str = "\r";
const TAB: &str = "\t";
const UP: &str = "\x1b[A";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

/// Where the shells of a session keep what was typed.
const HISTORY: &str = "state/keyloom/history";

/// A shell that waits for a statement, in the session's folder.
async fn shell(session: &TestSession) -> Result<Terminal> {
    let command = Keyloom::on(session, ["shell", "--format", "csv"]).await?;
    let command = command.within(session.path("")).env("XDG_STATE_HOME", &session.path("state"));
    let mut terminal = Terminal::start(command)?;
    terminal.sees(PROMPT).await?;
    Ok(terminal)
}

/// Ends a shell that has answered.
async fn end(mut terminal: Terminal) -> Result<()> {
    terminal.sees(PROMPT).await?;
    let shown = terminal.shown();
    assert!(!shown.contains("error: "), "{shown}");
    terminal.press(CTRL_D)?;
    assert_eq!(terminal.ends().await?, Some(0));
    Ok(())
}

async fn tab_completes_stores_and_the_columns_of_those_that_were_opened(
    session: &TestSession,
) -> Result<()> {
    write_lance(&session.path("products.lance"), &[products()], 2).await?;
    let catalog = "[stores.products]\nkind = 'lance'\nuri = 'products.lance'\nkey = 'id'\n";
    fs::write(session.path("keyloom.toml"), catalog)?;
    let mut terminal = shell(session).await?;
    terminal.press("SELECT name FROM produ")?;
    terminal.sees("SELECT name FROM produ").await?;
    terminal.press(TAB)?;
    terminal.sees("SELECT name FROM products").await?;
    terminal.press(" WHERE id = 'b';")?;
    terminal.press(ENTER)?;
    terminal.sees("banana\n").await?;
    terminal.sees(PROMPT).await?;

    terminal.press("SELECT 'costs ' || max(pri")?;
    terminal.sees("|| max(pri").await?;
    terminal.press(TAB)?;
    terminal.sees("|| max(price").await?;
    terminal.press(") AS most FROM products;")?;
    terminal.press(ENTER)?;
    terminal.sees("costs 20\n").await?;
    end(terminal).await
}

#[tokio::test]
async fn what_was_typed_comes_back_in_the_next_shell() -> Result<()> {
    let session = Deployment::Embedded.session().await?;
    let mut first = shell(&session).await?;
    first.press(STATEMENT)?;
    first.press(ENTER)?;
    first.sees(ANSWER).await?;
    end(first).await?;
    let kept = fs::read_to_string(session.path(HISTORY))?;
    assert_eq!(kept.lines().last(), Some(STATEMENT), "{kept}");

    let mut second = shell(&session).await?;
    second.press(UP)?;
    second.sees(STATEMENT).await?;
    second.press(ENTER)?;
    second.sees(ANSWER).await?;
    end(second).await
}

#[tokio::test]
async fn ctrl_c_drops_what_was_typed_and_a_statement_may_have_several_lines() -> Result<()> {
    let session = Deployment::Embedded.session().await?;
    let mut terminal = shell(&session).await?;
    terminal.press("SELECT nonsense")?;
    terminal.sees("SELECT nonsense").await?;
    terminal.press(CTRL_C)?;
    terminal.sees(PROMPT).await?;
    for line in ["SELECT 'forty'", "|| '-two' AS answer;"] {
        terminal.press(line)?;
        terminal.press(ENTER)?;
    }
    terminal.sees(ANSWER).await?;
    end(terminal).await?;
    let kept = fs::read_to_string(session.path(HISTORY))?;
    assert!(kept.contains("'-two'") && !kept.contains("nonsense"), "{kept}");
    Ok(())
}
