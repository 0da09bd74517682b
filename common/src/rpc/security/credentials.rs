//! What whoever dials has in its hands: read from its files, and again when they have changed.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector, TlsStream,
    rustls::{self, ClientConfig, pki_types::ServerName},
};

use super::{
    Identity, PeerSecurity, PortName, Reloads, Role, Stream, Token,
    files::{Named, Stamp, own_token},
    own::Own,
    reloads::ReloadCounts,
    tls,
};
use crate::{
    error::{Error, ErrorKind, Result},
    rpc::{
        handshake::Service,
        transport::{is_tls, parse_address},
    },
};

/// What whoever dials knows of its coordinator and shows of itself. By default nothing. Clones
/// share what was read.
#[derive(Clone, Default)]
pub struct Credentials(Option<Arc<Inner>>);

struct Inner {
    security: PeerSecurity,
    read: Mutex<Read>,
    reloads: ReloadCounts,
}

struct Read {
    /// How the files looked when they were read last, well or not.
    stamp: Stamp,
    shown: Shown,
}

/// What is used for one connection.
#[derive(Clone, Default)]
pub(in crate::rpc) struct Shown {
    tls: Option<Arc<ClientConfig>>,
    own: Option<Arc<Own>>,
    server_name: Option<String>,
    pub(in crate::rpc) token: Option<Token>,
}

impl Credentials {
    pub(super) fn load(security: PeerSecurity) -> Result<Self> {
        let stamp = Stamp::of(security.files());
        let shown = Shown::read(&security)?;
        let (read, reloads) = (Mutex::new(Read { stamp, shown }), ReloadCounts::default());
        Ok(Self(Some(Arc::new(Inner { security, read, reloads }))))
    }

    /// Whether these suit an address: TLS needs an authority, and an authority needs TLS. Nothing
    /// is opened.
    ///
    /// # Errors
    /// `invalid`, naming the setting and the address.
    pub fn check_address(&self, address: &str) -> Result<()> {
        parse_address(address)?;
        let has_ca = self.0.as_ref().is_some_and(|inner| inner.security.ca_file.is_some());
        match (is_tls(address), has_ca) {
            (true, false) => Err(Error::invalid(format!(
                "{address} needs security.ca_file: certificates of the authority that signed the \
                 coordinator's"
            ))),
            (false, true) => Err(Error::invalid(format!(
                "security.ca_file is set, and '{address}' is without TLS: a coordinator with \
                 TLS is at tls://HOST:PORT"
            ))),
            _ => Ok(()),
        }
    }

    /// Why nobody takes the own certificate, or soon nobody will, in words.
    pub fn doubt(&self) -> Option<String> {
        self.current().own?.doubt()
    }

    /// How often the files were read again, and how long the own certificate is valid. Files that
    /// have changed are read again for this.
    pub fn reloads(&self) -> Reloads {
        let valid_until = self.current().own.and_then(|own| own.valid_until());
        let counted = self.0.as_ref().map(|inner| inner.reloads.get()).unwrap_or_default();
        Reloads { valid_until, ..counted }
    }

    /// As the files are now. If they are not what they should be, as they were before.
    pub(in crate::rpc) fn current(&self) -> Shown {
        let Some(inner) = &self.0 else { return Shown::default() };
        let (port, stamp) = (PortName::Rpc, Stamp::of(inner.security.files()));
        let mut read = inner.lock();
        if read.stamp != stamp {
            match Shown::read(&inner.security) {
                Ok(shown) => {
                    read.shown = shown;
                    inner.reloads.succeed();
                    tracing::info!(%port, "certificates and tokens were read again");
                }
                Err(error) => {
                    inner.reloads.fail();
                    tracing::warn!(
                        %port,
                        %error,
                        "changed certificates or tokens cannot be used; the old ones stay"
                    );
                }
            }
            // Wrong ones are not read again before they change.
            read.stamp = stamp;
        }
        read.shown.own.iter().for_each(|own| own.warn());
        read.shown.clone()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = self.0.as_ref().map(|inner| &inner.security);
        f.debug_tuple("Credentials").field(&security).finish()
    }
}

impl Shown {
    fn read(security: &PeerSecurity) -> Result<Self> {
        let certificate = Named::of("security.cert_file", security.cert_file.as_ref());
        let key = Named::of("security.key_file", security.key_file.as_ref());
        let ca = Named::of("security.ca_file", security.ca_file.as_ref());
        let tls = ca.map(|ca| tls::connecting(ca, certificate.zip(key))).transpose()?;
        let own = certificate.filter(|_| tls.is_some()).map(Own::read).transpose()?;
        let token_file = Named::of("security.token_file", security.token_file.as_ref());
        let token = match (token_file, &security.token) {
            (Some(file), _) => file.tokens()?.into_iter().next(),
            (None, Some(token)) => Some(own_token("security.token", token.expose())?),
            (None, None) => None,
        };
        let (own, server_name) = (own.map(Arc::new), security.server_name.clone());
        Ok(Self { tls, own, server_name, token })
    }

    /// A refusal with what is wrong with the own certificate, if that is not valid yet: whoever
    /// refuses it says that it has expired, for TLS has no other word.
    pub(in crate::rpc) fn explained(&self, error: Error) -> Error {
        let early = self.own.as_ref().and_then(|own| own.too_early());
        match early.filter(|_| error.kind() == ErrorKind::PermissionDenied) {
            Some(early) => {
                let message = format!("{}: {early}", error.message());
                error.reworded(message)
            }
            None => error,
        }
    }

    /// Opens TLS, if there is to be any.
    ///
    /// # Errors
    /// `permission_denied` if one side does not take the other's certificate, `unavailable` if it
    /// does not speak TLS or is gone.
    pub(in crate::rpc) async fn secure(
        &self,
        stream: TcpStream,
        service: Service,
        address: &str,
        host_port: &str,
    ) -> Result<Stream> {
        let Some(config) = &self.tls else { return Ok(Stream::Plain(stream)) };
        // The name in the settings is the coordinator's.
        let server_name = self.server_name.as_deref().filter(|_| service != Service::Shuffle);
        let name = server_name.unwrap_or_else(|| host(host_port));
        let who = service.listener();
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::invalid(format!(
                "'{name}' is neither a host's name nor an IP address, as certificates have them; \
                 security.server_name says another"
            ))
        })?;
        let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        let stream = connected.map_err(|error| match tls::said(&error) {
            Some(rustls::Error::InvalidCertificate(why)) => Error::permission_denied(format!(
                "the certificate of the {who} at {address} is not accepted: {why}; \
                 security.ca_file must hold the authority that signed it, and it must be for the \
                 address's host or security.server_name"
            )),
            _ if tls::refused_certificate(&error).is_some() => Error::permission_denied(format!(
                "the {who} at {address} does not accept security.cert_file: {error}"
            )),
            _ => Error::unavailable(format!(
                "no TLS with the {who} at {address}: {error}; without TLS it is at \
                 tcp://HOST:PORT"
            )),
        })?;
        // Workers' certificates may name hosts, too, for their own ports.
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        check_listener(service, shown.and_then(|shown| Identity::certified(shown).ok()), address)?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }
}

/// Refuses the certificate of somebody else than who should listen: a coordinator's names no role.
fn check_listener(service: Service, shown: Option<Identity>, address: &str) -> Result<()> {
    let who = service.listener();
    let why = match (service, shown) {
        (Service::Client | Service::Worker, None) => return Ok(()),
        (Service::Client | Service::Worker, Some(peer)) => format!("it is that of {peer}"),
        (Service::Shuffle, Some(peer)) if peer.role == Role::Worker => return Ok(()),
        (Service::Shuffle, Some(peer)) => format!("it is that of {peer}"),
        (Service::Shuffle, None) => "it names no role".to_owned(),
    };
    Err(Error::permission_denied(format!(
        "the certificate of the {who} at {address} is not accepted: {why}"
    )))
}

/// The host, without the brackets of an IPv6 address.
pub(super) fn host(host_port: &str) -> &str {
    let host = host_port.rsplit_once(':').map_or(host_port, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_has_no_brackets() {
        for (host_port, expected) in
            [("a.example:7700", "a.example"), ("10.0.0.5:1", "10.0.0.5"), ("[::1]:7700", "::1")]
        {
            assert_eq!(host(host_port), expected);
        }
    }

    #[test]
    fn without_an_authority_there_is_no_tls() {
        let none = Credentials::default();
        assert_eq!(none.check_address("tcp://h:7700"), Ok(()));
        assert_eq!(none.check_address("h:7700"), Ok(()));
        let error = none.check_address("tls://h:7700").unwrap_err();
        assert!(error.message().starts_with("tls://h:7700 needs security.ca_file"), "{error}");
    }
}
