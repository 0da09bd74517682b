//! The way in for whoever connects: TLS, the first lines, a token; and only then a service.
//!
//! Until a peer is known, it costs a task, a line of a bounded size and, once it has said all of
//! what it opens with, a turn at the handshakes, of which there are only so many. All of it
//! together has one deadline.

mod loaded;
mod opening;
mod turns;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, copy, sink},
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    Identity, PortName, Reloads, ServerSecurity, Stream, TokenFiles, credentials::host,
    files::Stamp, own::Own, reloads::ReloadCounts, tls::Shows,
};
use crate::{
    error::{Error, ErrorKind, Result},
    rpc::{
        Limits,
        handshake::{self, Service},
        transport::{parse_address, set_options},
    },
};
use loaded::{Loaded, Refused, accept, broken};
use opening::opening;
use turns::{PER_HANDSHAKE, Turns};

/// How long a peer that was refused is kept: it can read why, and cannot try as fast as it likes.
const REST: Duration = Duration::from_millis(500);

/// The most bytes of a peer that was refused that are read, and thrown away, meanwhile.
const REST_BYTES: u64 = 64 << 10;

/// The way in. Clones are the same.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    port: PortName,
    security: ServerSecurity,
    shows: Shows,
    limits: Limits,
    loaded: Mutex<(Stamp, Arc<Loaded>)>,
    turns: Arc<Turns>,
    /// For those who were refused.
    rests: Semaphore,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: AtomicU64,
    refused: AtomicU64,
    reloads: ReloadCounts,
}

/// What a gate has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateFigures {
    /// Connections that were let in.
    pub admitted: u64,
    /// Connections that were not.
    pub refused: u64,
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Admitted<P> {
    /// The connection, whose next byte is the service's.
    pub stream: Stream,
    /// What it is for.
    pub service: Service,
    /// Who is at its other end.
    pub identity: Identity,
    /// The place that it has.
    pub place: P,
}

impl Gate {
    /// Reads all files of a port.
    ///
    /// # Errors
    /// `invalid`, naming settings that do not go together, or the setting whose file is not what it
    /// should be, and the file.
    pub fn open(port: PortName, security: &ServerSecurity, limits: &Limits) -> Result<Self> {
        security.validate()?;
        Self::read(port, security, Shows::Must, limits)
    }

    /// TLS by the own certificate, within which peers may show theirs and need not: for ports that
    /// others must reach, too ([`Self::secure`], and not [`Self::admit`]).
    ///
    /// # Errors
    /// `invalid`, naming the setting whose file is not what it should be, and the file.
    pub fn of_certificate(
        port: PortName,
        security: &ServerSecurity,
        limits: &Limits,
    ) -> Result<Self> {
        let tokens = TokenFiles::default();
        let alone = ServerSecurity { tokens, ..security.clone() };
        Self::read(port, &alone, Shows::May, limits)
    }

    fn read(
        port: PortName,
        security: &ServerSecurity,
        shows: Shows,
        limits: &Limits,
    ) -> Result<Self> {
        let stamp = security.stamp();
        let loaded = Arc::new(Loaded::read(security, shows)?);
        warn_of_role(port, &loaded);
        let resting = security.max_handshakes.saturating_mul(PER_HANDSHAKE);
        Ok(Self(Arc::new(Inner {
            port,
            security: security.clone(),
            shows,
            limits: limits.clone(),
            loaded: Mutex::new((stamp, loaded)),
            turns: Turns::new(security.max_handshakes),
            rests: Semaphore::new(resting.min(Semaphore::MAX_PERMITS)),
            counts: Counts::default(),
        })))
    }

    /// Reads the files again, whether they have changed or not. Where they are not what they should
    /// be, what was read before stays, and a warning says so.
    pub fn reload(&self) {
        let Inner { port, security, shows, counts, .. } = self.0.as_ref();
        let stamp = security.stamp();
        let read = Loaded::read(security, *shows);
        let mut loaded = self.0.lock();
        // Wrong ones are not read again before they change.
        loaded.0 = stamp;
        match read {
            Ok(read) => {
                warn_of_role(*port, &read);
                loaded.1 = Arc::new(read);
                counts.reloads.succeed();
                tracing::info!(%port, "certificates and tokens were read again");
            }
            Err(error) => {
                counts.reloads.fail();
                tracing::warn!(
                    %port,
                    %error,
                    "changed certificates or tokens cannot be used; the old ones stay"
                );
            }
        }
    }

    /// Reads the files again whenever they have changed, until this is dropped. Warns once a day of
    /// a certificate that nobody takes, or soon will not.
    pub async fn keep_fresh(&self) {
        let period = Duration::from_millis(self.0.security.reload_ms);
        loop {
            sleep(period).await;
            self.reload_if_changed();
            self.0.loaded().own.iter().for_each(Own::warn);
        }
    }

    fn reload_if_changed(&self) {
        let stamp = self.0.security.stamp();
        let changed = self.0.lock().0 != stamp;
        if changed {
            self.reload();
        }
    }

    /// TLS alone, if there is any, for ports that speak something else within it.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable` or `timeout` if the peer does not come through.
    pub async fn secure(&self, stream: TcpStream) -> Result<Stream> {
        let loaded = self.0.loaded();
        let Some(config) = &loaded.tls else { return Ok(stream.into()) };
        let deadline = self.0.limits.handshake_timeout();
        let secured = timeout(deadline, accept(config, stream)).await;
        let secured = secured.unwrap_or_else(|_| Err(late(deadline).into()));
        secured.map_err(|refused| refused.error)
    }

    /// Who a peer is by its certificate; none if it shows none and need not.
    ///
    /// # Errors
    /// `permission_denied` if it must, or its certificate names no role.
    pub fn certified(&self, stream: &Stream) -> Result<Option<Identity>> {
        self.0.loaded().certified(stream)
    }

    /// Who a peer is by a token that it shows, as an HTTP request does; none if it is nobody's.
    pub fn bearer(&self, token: &str) -> Option<Identity> {
        self.0.loaded().role_of(token).map(Identity::of_token)
    }

    /// Who asks at another port, by the certificate that it has shown there and by a token that it
    /// shows as it is: it needs what it would need here.
    ///
    /// # Errors
    /// `permission_denied` if something is missing, or not known.
    pub fn identify(&self, certified: Option<Identity>, token: Option<&str>) -> Result<Identity> {
        self.0.loaded().identify(certified, token)
    }

    /// What was counted.
    pub fn figures(&self) -> GateFigures {
        let Counts { admitted, refused, .. } = &self.0.counts;
        let [admitted, refused] = [admitted, refused].map(|count| count.load(Ordering::Relaxed));
        GateFigures { admitted, refused }
    }

    /// How often its files were read again, and how long its certificate is valid.
    pub fn reloads(&self) -> Reloads {
        let valid_until = self.0.loaded().own.as_ref().and_then(Own::valid_until);
        Reloads { valid_until, ..self.0.counts.reloads.get() }
    }

    /// Whether the certificate that it shows, if it shows one, is for the host of an address.
    ///
    /// # Errors
    /// `invalid`, naming the certificate and the host.
    pub fn check_host(&self, address: &str) -> Result<()> {
        let host = host(parse_address(address)?);
        self.0.loaded().own.as_ref().map_or(Ok(()), |own| own.check_host(host))
    }

    /// Takes a connection as far as its service. Once the peer is known, `enter` gives it a place;
    /// where it has none, the peer is told why.
    ///
    /// # Errors
    /// Why it was not let in. The peer has been told, if it may know; then this comes a moment
    /// later.
    pub async fn admit<P>(
        &self,
        stream: TcpStream,
        enter: impl FnOnce() -> Result<P>,
    ) -> Result<Admitted<P>> {
        let counts = &self.0.counts;
        match self.0.meet(stream, enter).await {
            Ok(admitted) => {
                counts.admitted.fetch_add(1, Ordering::Relaxed);
                Ok(admitted)
            }
            Err(Refused { error, stream }) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                if let Some(stream) = stream {
                    self.0.rest(stream).await;
                }
                Err(error)
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, (Stamp, Arc<Loaded>)> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.lock().1)
    }

    async fn meet<P>(
        &self,
        stream: TcpStream,
        enter: impl FnOnce() -> Result<P>,
    ) -> Result<Admitted<P>, Refused> {
        let from = stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
        let stranger = self.turns.arrive(from)?;
        let deadline = self.limits.handshake_timeout();
        let met = async {
            let first = opening(&stream, self.security.has_tls());
            let first = stranger.unless_displaced("had not said all it opens with", first);
            let first = first.await??;
            let turn = stranger.turn();
            let turn = stranger.unless_displaced("waited for its turn", turn).await??;
            turn.unless_displaced(self.shake(stream, first, enter)).await?
        };
        timeout(deadline, met).await.unwrap_or_else(|_| Err(late(deadline).into()))
    }

    async fn shake<P>(
        &self,
        stream: TcpStream,
        first: u8,
        enter: impl FnOnce() -> Result<P>,
    ) -> Result<Admitted<P>, Refused> {
        set_options(&stream, &self.limits).map_err(|error| broken(&error))?;
        let loaded = self.loaded();
        let mut stream = loaded.secure(stream, first).await?;
        let met = match loaded.greet(&mut stream).await {
            Ok(met) => enter().map(|place| (met, place)),
            Err(error) => Err(error),
        };
        let ((service, identity, proof), place) = match met {
            Ok(all) => all,
            Err(error) => {
                let kind = error.kind();
                if matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ResourceExhausted) {
                    // Whoever does not listen is not told.
                    let _ = handshake::refuse(&mut stream, &error).await;
                }
                let is_told = !kind.is_transient();
                return Err(Refused { error, stream: is_told.then_some(stream) });
            }
        };
        handshake::accept(&mut stream, proof).await?;
        Ok(Admitted { stream, service, identity, place })
    }

    /// Keeps a peer that was refused for a moment, if there are not too many: what it has sent and
    /// nobody has read would take the refusal with it when the connection closes.
    async fn rest(&self, stream: Stream) {
        let Ok(_permit) = self.rests.try_acquire() else { return };
        let drain = async {
            let mut unread = stream.take(REST_BYTES);
            // However it ends, nothing more is wanted of it.
            let _ = timeout(REST, copy(&mut unread, &mut sink())).await;
        };
        tokio::join!(sleep(REST), drain);
    }
}

/// Warns where a coordinator shows somebody else's certificate, of which it hears nothing: whoever
/// dials hangs up.
fn warn_of_role(port: PortName, loaded: &Loaded) {
    let own = loaded.own.as_ref().filter(|_| port == PortName::Rpc);
    if let Some(doubt) = own.and_then(Own::names_a_role) {
        tracing::warn!("{doubt}");
    }
}

fn late(deadline: Duration) -> Error {
    Error::timeout(format!("no handshake within {deadline:?}"))
}
