//! HTTP as it stands on the wire: enough of it to ask, and to take any answer apart.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What is asked, beside a path.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) body: Option<&'a str>,
    /// What the body is.
    pub(super) media: &'a str,
}

impl Request<'_> {
    pub(super) fn get() -> Self {
        Self { method: "GET", token: None, body: None, media: "application/json" }
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// In lower case, to the end of its last line.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn text(&self) -> Result<String> {
        Ok(String::from_utf8(self.body.clone())?)
    }

    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{self:?}"))
    }

    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(header, _)| *header == name).map(|(_, value)| value.trim())
    }
}

/// Asks, and reads all of the answer.
pub(super) async fn ask(address: &str, path: &str, request: &Request<'_>) -> Result<Reply> {
    let host = address.strip_prefix("http://").context("not over TLS")?;
    let Request { method, token, body, media } = request;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if let Some(token) = token {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        text += &format!("Content-Type: {media}\r\nContent-Length: {}\r\n", body.len());
    }
    text += &format!("\r\n{}", body.unwrap_or_default());
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    reply(&answer, *method == "HEAD")
}

/// What was answered, to who may have asked for a head alone.
fn reply(answer: &[u8], has_no_body: bool) -> Result<Reply> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("a head")?;
    let (head, body) = (&answer[..end + 2], &answer[end + 4..]);
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let mut reply = Reply { status, head, body: Vec::new() };
    if has_no_body {
        ensure!(body.is_empty(), "a body of nothing");
        return Ok(reply);
    }
    reply.body = match reply.header("transfer-encoding") {
        Some("chunked") => joined(body)?,
        _ => body.to_vec(),
    };
    if let Some(length) = reply.header("content-length") {
        ensure!(reply.body.len() == length.parse::<usize>()?, "it was broken off: {reply:?}");
    }
    Ok(reply)
}

/// The chunks of a body, whose last one is empty.
fn joined(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|bytes| bytes == b"\r\n").context("broken off")?;
        let bytes = usize::from_str_radix(std::str::from_utf8(&rest[..line])?, 16)?;
        if bytes == 0 {
            return Ok(body);
        }
        let chunk = rest.get(line + 2..line + 2 + bytes).context("broken off")?;
        body.extend_from_slice(chunk);
        rest = rest.get(line + 4 + bytes..).context("broken off")?;
    }
}
