//! The HTTP port of a daemon: whether it lives, whether it does its work, and what it counts; and
//! the [`Pages`] that the daemon has beside that, for those who may submit jobs.
//!
//! It is there only if somebody asks for it, and tells nobody else of jobs, keys or rows. The first
//! two are told to everybody who reaches it: those who watch over processes have no tokens. Beyond
//! loopback, what is counted is told for a token alone, or where a setting says otherwise. What a
//! stranger can take is bounded: connections, the head of a request, the time of an answer, and how
//! long a connection lasts.

mod answers;
mod callers;
mod files;
mod guard;
mod pages;
mod places;
mod refusal;

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use keyloom_common::{
    Error,
    http::HttpSettings,
    rpc::{BearerTokens, Gate, Limits, PortName, ServerSecurity, Stream, accepting},
};
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::daemon::announce;
use answers::{App, router};
use callers::Callers;
pub use files::Files;
use guard::Guard;
pub use pages::Pages;
use pages::{Peer, behind};
use places::{Busy, Places};
pub use refusal::Refusal;

/// The most bytes of the head of a request.
const HEAD_BYTES: usize = 16 << 10;

/// What a daemon tells.
pub trait Told: Send + Sync + 'static {
    /// Whether it does its work; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    fn ready(&self) -> Result<(), String>;

    /// What it counts, in the format of OpenMetrics.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

/// A port that listens, and answers once it is served.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
    settings: HttpSettings,
    guard: Guard,
    /// Whether the daemon asks who connects to it.
    asks_who: bool,
    /// What knows those who connect to it, if they can be asked here.
    known: Option<Gate>,
    /// What makes TLS of connections, if there is a certificate.
    tls: Option<Gate>,
}

/// A port that answers, until this is dropped.
#[derive(Debug)]
pub struct Serving {
    _answering: AbortOnDropHandle<()>,
}

impl Port {
    /// Listens where the settings say, if they do. What `server` says of the daemon's own
    /// certificate and of those who connect is true for this port, too, of their tokens only where
    /// nobody else can read them. Certificates of theirs are taken, and needed for pages alone.
    ///
    /// # Errors
    /// `invalid`, naming the settings, if strangers could read what is counted, or files are wrong;
    /// if nobody can listen there.
    pub async fn open(
        settings: &HttpSettings,
        server: Option<&ServerSecurity>,
        limits: &Limits,
    ) -> Result<Option<Self>> {
        let Some(listen) = &settings.listen else { return Ok(None) };
        settings.validate()?;
        let found = lookup_host(listen).await;
        let found =
            found.map_err(|_| Error::invalid(format!("--http takes HOST:PORT, not '{listen}'")))?;
        let addresses: Vec<_> = found.collect();
        let tokens = settings.token_file.clone();
        let tokens = tokens.map(|path| BearerTokens::read("http.token_file", path)).transpose()?;
        let tokens = tokens.map(Arc::new);
        let tls = certificate(settings, server, limits)?;
        let open = addresses.iter().find(|address| !address.ip().is_loopback());
        // What makes somebody an operator of the cluster crosses no network in clear.
        let is_private = tls.is_some() || open.is_none();
        let asking = server.filter(|server| server.ca_file.is_some() || server.has_tokens());
        let asks_who = asking.is_some();
        let known = asking.filter(|_| is_private);
        let known = known.map(|server| Gate::open(PortName::Http, server, limits)).transpose()?;
        let has_operators = asking.is_some_and(|server| server.tokens.operator.is_some());
        let operators = known.clone().filter(|_| has_operators);
        if let Some(open) = open {
            allow(*open, settings, tokens.is_some() || operators.is_some())?;
        }
        if !is_private && tokens.is_some() {
            tracing::warn!(
                "tokens for what is counted cross the network in clear: http.cert_file and \
                 http.key_file are not set"
            );
        }
        let listener = TcpListener::bind(addresses.as_slice()).await;
        let cannot = || format!("cannot listen on {listen} (--http, or http.listen in settings)");
        let listener = listener.with_context(cannot)?;
        let address = listener.local_addr().context("the listener has no address")?;
        // A token that there is for others is not asked of this machine.
        let asks = tokens.is_some() || (open.is_some() && !settings.insecure_listen);
        let is_local = open.is_none();
        let guard = Guard { is_local, asks, tokens, operators };
        let settings = settings.clone();
        Ok(Some(Self { listener, address, settings, guard, asks_who, known, tls }))
    }

    /// Where it is, as `http://HOST:PORT` or `https://HOST:PORT`.
    fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers from now on, and says on stdout and in the log where. Must be called within a tokio
    /// runtime.
    pub fn serve(self, told: impl Told) -> Serving {
        self.serve_with(told, None)
    }

    /// The same, with pages beside what is told.
    pub fn serve_with(self, told: impl Told, pages: Option<Pages>) -> Serving {
        let address = self.address();
        announce(&address);
        tracing::info!("answers HTTP at {address}");
        let answering = tokio::spawn(self.run(told, pages));
        Serving { _answering: AbortOnDropHandle::new(answering) }
    }

    /// What it has read of files that may change.
    pub fn files(&self) -> Files {
        let gates = [&self.tls, &self.known].into_iter().flatten().cloned().collect();
        Files { gates, tokens: self.guard.tokens.clone() }
    }

    async fn run(self, told: impl Told, pages: Option<Pages>) {
        let Files { gates, .. } = self.files();
        let Self { listener, settings, guard, asks_who, known, tls, .. } = self;
        let ends = Ends {
            last_requests: settings.request_timeout(),
            last_rows: pages.as_ref().map(|pages| pages.settings.results_timeout()),
        };
        let is_local = guard.is_local;
        let pages = pages.map(|pages| {
            let callers = Callers::of(asks_who, known, is_local, pages.insecure);
            behind(pages, callers)
        });
        let app = App { told, guard, timeout: settings.request_timeout() };
        let (router, places) =
            (router(Arc::new(app), pages), Places::new(settings.max_connections));
        let settings = Arc::new(settings);
        let serve = move |stream: TcpStream, _: SocketAddr| {
            let (router, tls) = (router.clone(), tls.clone());
            let (settings, place) = (Arc::clone(&settings), places.enter());
            async move {
                let busy = place.busy.clone();
                let served = connection(stream, tls, router, &settings, (ends, busy));
                if let Some(Err(error)) = place.close.run_until_cancelled(served).await {
                    tracing::debug!("an HTTP connection ended: {error:#}");
                }
            }
        };
        match accepting(&listener, gates, serve).await {}
    }
}

/// Lets nobody but this machine reach what is counted, unless a token or a setting does.
fn allow(
    open: SocketAddr,
    settings: &HttpSettings,
    has_tokens: bool,
) -> keyloom_common::Result<()> {
    if settings.insecure_listen {
        tracing::warn!(
            "{open} can be reached from other machines, and tells whoever asks what is counted \
             (http.insecure_listen)"
        );
        return Ok(());
    }
    if has_tokens {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{open} can be reached from other machines, and would tell whoever asks what is counted; \
         listen on 127.0.0.1, give a token by the setting http.token_file, or add --insecure-http \
         on a network that you trust"
    )))
}

/// What makes TLS of connections: by the port's own certificate, or by the daemon's.
fn certificate(
    settings: &HttpSettings,
    server: Option<&ServerSecurity>,
    limits: &Limits,
) -> keyloom_common::Result<Option<Gate>> {
    let usual = ServerSecurity::default();
    let server = server.unwrap_or(&usual);
    let (cert_file, key_file) = match &settings.cert_file {
        Some(_) => (settings.cert_file.clone(), settings.key_file.clone()),
        None => (server.cert_file.clone(), server.key_file.clone()),
    };
    if cert_file.is_none() {
        return Ok(None);
    }
    let security = ServerSecurity { cert_file, key_file, ..server.clone() };
    // Whoever asks may show a certificate, and tokens are looked at by the answers.
    let gate = Gate::of_certificate(PortName::Http, &security, limits);
    gate.map(Some).map_err(|error| error.context("the certificate of the HTTP port"))
}

/// How long what is being answered may take to its end, once the connection takes nothing more.
#[derive(Clone, Copy, Debug)]
struct Ends {
    last_requests: Duration,
    /// If there are pages, which give rows.
    last_rows: Option<Duration>,
}

impl Ends {
    fn of(self, busy: &Busy) -> Duration {
        self.last_rows.filter(|_| busy.is_busy()).unwrap_or(self.last_requests)
    }
}

/// Answers what is asked on a connection, for as long as it may last.
async fn connection(
    stream: TcpStream,
    tls: Option<Gate>,
    router: Router,
    settings: &HttpSettings,
    (ends, busy): (Ends, Busy),
) -> Result<()> {
    let (stream, certified) = match tls {
        Some(gate) => {
            let stream = gate.secure(stream).await?;
            let certified = gate.certified(&stream);
            (stream, certified)
        }
        None => (Stream::from(stream), Ok(None)),
    };
    let router = router.layer(Extension(Peer { certified, busy: busy.clone() }));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(settings.header_timeout());
    builder.max_buf_size(HEAD_BYTES);
    let mut served =
        pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        ended = served.as_mut() => return Ok(ended?),
        () = sleep(settings.connection()) => {}
    }
    // What is being answered may end.
    served.as_mut().graceful_shutdown();
    Ok(timeout(ends.of(&busy), served).await??)
}

#[cfg(test)]
mod tests;
