//! What daemons answer over HTTP.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
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

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    /// JSON that is posted.
    pub(crate) body: Option<&'a str>,
}

/// Asks a daemon for a page.
pub(crate) async fn get(address: &str, path: &str) -> Result<Answer> {
    let host = address.strip_prefix("http://").context("not over TLS")?;
    ask(TcpStream::connect(host).await?, host, &Asked { path, ..Asked::default() }).await
}

/// Asks a daemon for a page over TLS, if an authority has signed the certificate that it shows, and
/// shows a token, if there is one.
pub(crate) async fn get_over_tls(
    address: &str,
    path: &str,
    ca_file: &Path,
    token: Option<&str>,
) -> Result<Answer> {
    ask_over_tls(address, ca_file, None, &Asked { path, token, body: None }).await
}

/// The same for whatever is asked, by who shows a certificate and has its key, if there is one.
pub(crate) async fn ask_over_tls(
    address: &str,
    ca_file: &Path,
    own: Option<&[PathBuf; 2]>,
    asked: &Asked<'_>,
) -> Result<Answer> {
    let stream = connect_over_tls(address, ca_file, own).await?;
    ask(stream, address.trim_start_matches("https://"), asked).await
}

/// A connection over which nothing was asked yet.
pub(crate) async fn connect_over_tls(
    address: &str,
    ca_file: &Path,
    own: Option<&[PathBuf; 2]>,
) -> Result<TlsStream<TcpStream>> {
    let host = address.strip_prefix("https://").context("over TLS")?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file)? {
        roots.add(certificate)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some([certificate, key]) => {
            let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?)?;
            config.with_client_auth_cert(certificates(certificate)?, key)?
        }
    };
    let (name, _) = host.rsplit_once(':').context("a port")?;
    let name = ServerName::try_from(name.to_owned())?;
    let stream = TcpStream::connect(host).await?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&fs::read(file)?).collect();
    Ok(read?)
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    asked: &Asked<'_>,
) -> Result<Answer> {
    let Asked { path, token, body } = asked;
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if let Some(token) = token {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        let length = body.len();
        text += &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    }
    text += &format!("\r\n{}", body.unwrap_or_default());
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head and a body")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}
