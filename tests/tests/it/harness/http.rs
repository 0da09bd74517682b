//! What daemons answer over HTTP.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks a daemon for a page.
pub(crate) async fn get(address: &str, path: &str) -> Result<Answer> {
    let host = address.strip_prefix("http://").context("not over TLS")?;
    ask(TcpStream::connect(host).await?, host, path, None).await
}

/// Asks a daemon for a page over TLS, if an authority has signed the certificate that it shows, and
/// shows a token, if there is one.
pub(crate) async fn get_over_tls(
    address: &str,
    path: &str,
    ca_file: &Path,
    token: Option<&str>,
) -> Result<Answer> {
    let host = address.strip_prefix("https://").context("over TLS")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&fs::read(ca_file)?) {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (name, _) = host.rsplit_once(':').context("a port")?;
    let name = ServerName::try_from(name.to_owned())?;
    let stream = TcpStream::connect(host).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    ask(stream, host, path, token).await
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
    token: Option<&str>,
) -> Result<Answer> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{token}");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head and a body")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}
