//! What the files of a gate say, and what a peer comes to by it.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream, rustls::ServerConfig};

use super::super::{
    Identity, Proof, Role, ServerSecurity, Stream, Token,
    files::Named,
    own::Own,
    tls::{self, Shows},
};
use crate::{
    error::{Error, Result},
    rpc::handshake::{self, Service},
};

/// How TLS begins.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// How a handshake without TLS begins.
pub(super) const LINE: u8 = b'{';

/// What was read of the files.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// The certificate that it shows.
    pub(super) own: Option<Own>,
    /// Whether each peer must show a certificate.
    certificates: bool,
    pub(super) tokens: Vec<(Role, Token)>,
}

/// Why a connection was not let in, and the connection, if the peer may still be reading.
pub(super) struct Refused {
    pub(super) error: Error,
    pub(super) stream: Option<Stream>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, stream: None }
    }
}

impl Loaded {
    pub(super) fn read(security: &ServerSecurity, shows: Shows) -> Result<Self> {
        let certificate = Named::of("security.cert_file", security.cert_file.as_ref());
        let key = Named::of("security.key_file", security.key_file.as_ref());
        let ca = Named::of("security.ca_file", security.ca_file.as_ref());
        let revoked = Named::of("security.crl_file", security.crl_file.as_ref());
        let pair = certificate.zip(key);
        let tls = pair.map(|own| tls::accepting(own, ca, revoked, shows)).transpose()?;
        let own = certificate.filter(|_| tls.is_some()).map(Own::read).transpose()?;
        let certificates = ca.is_some() && shows == Shows::Must;
        Ok(Self { tls, own, certificates, tokens: security.read_tokens()? })
    }

    /// Whether peers must show who they are at all.
    fn asks(&self) -> bool {
        self.certificates || !self.tokens.is_empty()
    }

    pub(super) fn certified(&self, stream: &Stream) -> Result<Option<Identity>> {
        match stream.certificate() {
            Some(certificate) => Identity::certified(certificate).map(Some),
            None if self.certificates => Err(shows_none()),
            None => Ok(None),
        }
    }

    /// The role of a token that is shown as it is. All are compared, so that the time says nothing.
    pub(super) fn role_of(&self, token: &str) -> Option<Role> {
        let (shown, mut found) = (Token::of(token), None);
        for (role, token) in &self.tokens {
            if *token == shown {
                found = Some(*role);
            }
        }
        found
    }

    /// Who asks without a connection of its own that was let in: by what it has shown, which is as
    /// much as there.
    pub(super) fn identify(
        &self,
        certified: Option<Identity>,
        token: Option<&str>,
    ) -> Result<Identity> {
        if self.certificates && certified.is_none() {
            return Err(shows_none());
        }
        let Some(token) = token else {
            if self.wants_token(certified.as_ref()) {
                return Err(Error::permission_denied("a token is needed: Authorization: Bearer …"));
            }
            return Ok(certified.unwrap_or_else(Identity::anybody));
        };
        let role = self.role_of(token);
        both(certified, role.ok_or_else(|| Error::permission_denied("the token is not known"))?)
    }

    /// Whether a peer needs a token, by the role that its certificate names.
    fn wants_token(&self, certified: Option<&Identity>) -> bool {
        match certified {
            Some(identity) => self.tokens.iter().any(|(role, _)| *role == identity.role),
            None => !self.tokens.is_empty(),
        }
    }

    pub(super) async fn secure(&self, stream: TcpStream, first: u8) -> Result<Stream, Refused> {
        match (&self.tls, first) {
            (None, TLS_HANDSHAKE) => Err(Refused::from(Error::invalid(
                "it speaks TLS, and security.cert_file is not set",
            ))),
            (None, _) => Ok(stream.into()),
            (Some(_), LINE) => Err(tell_of_tls(stream.into()).await),
            (Some(config), _) => accept(config, stream).await,
        }
    }

    /// What a peer is here for, and who it is; and what proves to it that this is its coordinator.
    pub(super) async fn greet(
        &self,
        stream: &mut Stream,
    ) -> Result<(Service, Identity, Option<Proof>)> {
        let service = handshake::welcome(stream).await?;
        let certified = self.certified(stream)?;
        let (identity, proof) = if self.wants_token(certified.as_ref()) {
            let binding = stream.binding()?;
            let proved = handshake::challenge(stream, service, &self.tokens, binding).await?;
            (both(certified, proved.0)?, Some(proved.1))
        } else {
            (certified.unwrap_or_else(Identity::anybody), None)
        };
        if self.asks() && !identity.role.may_use(service) {
            return Err(Error::permission_denied(match service {
                Service::Client => {
                    format!(
                        "{identity} may not submit jobs: that takes the role client or operator"
                    )
                }
                Service::Worker => {
                    format!("{identity} may not run tasks: that takes the role worker")
                }
                Service::Shuffle => {
                    format!("{identity} may not shuffle rows: that takes the role worker")
                }
            }));
        }
        Ok((service, identity, proof))
    }
}

fn shows_none() -> Error {
    Error::permission_denied("a certificate must be shown (security.ca_file is set), and none was")
}

/// Who has shown a certificate, and a token of some role.
fn both(certified: Option<Identity>, proved: Role) -> Result<Identity> {
    match certified {
        None => Ok(Identity::of_token(proved)),
        Some(identity) if identity.role == proved => Ok(identity),
        Some(identity) => Err(Error::permission_denied(format!(
            "the certificate is that of {identity}, and the token is one of the role {proved}"
        ))),
    }
}

/// Opens TLS with a peer.
pub(super) async fn accept(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
) -> Result<Stream, Refused> {
    match TlsAcceptor::from(Arc::clone(config)).accept(stream).into_fallible().await {
        Ok(stream) => Ok(Stream::Tls(Box::new(TlsStream::Server(stream)))),
        Err((error, stream)) => {
            let error = match tls::said(&error) {
                Some(said) => Error::permission_denied(format!("TLS: {said}")),
                None => broken(&error),
            };
            Err(Refused { error, stream: Some(stream.into()) })
        }
    }
}

/// Tells a peer that comes without TLS that there is TLS alone.
async fn tell_of_tls(mut stream: Stream) -> Refused {
    let error = match handshake::welcome(&mut stream).await {
        Err(error) => error,
        Ok(_) => {
            let error = Error::invalid(
                "the coordinator takes TLS alone: it is at tls://HOST:PORT, and security.ca_file \
                 holds the authority that signed its certificate",
            );
            // Whoever does not listen is not told.
            let _ = handshake::refuse(&mut stream, &error).await;
            error
        }
    };
    Refused { error, stream: Some(stream) }
}

pub(super) fn broken(error: &std::io::Error) -> Error {
    Error::unavailable(format!("the connection broke during the handshake: {error}"))
}
