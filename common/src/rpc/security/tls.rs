//! TLS as both sides speak it, with certificates and keys as they are at the moment.
//!
//! Two providers of cryptography are in the build, so rustls has none by itself: ring is named
//! wherever one is needed. Sessions are not resumed: each connection shows its certificate, which
//! may have been revoked since the last one.

use std::{io, sync::Arc};

use tokio_rustls::rustls::{
    self, AlertDescription, ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::files::Named;
use crate::error::{Error, Result};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Whoever dials: it trusts one authority, and shows a certificate if it has one.
pub(super) fn connecting(
    ca: Named<'_>,
    own: Option<(Named<'_>, Named<'_>)>,
) -> Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS: {error}")))?
        .with_root_certificates(roots(ca)?);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(certificate.certificates()?, key.key()?)
            .map_err(|error| do_not_go_together(certificate, key, &error))?,
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whether those who connect show a certificate, where there is an authority for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Each must.
    Must,
    /// Whoever has none need not.
    May,
}

/// Whoever listens: it shows its certificate, and wants one if it has an authority for that.
pub(super) fn accepting(
    own: (Named<'_>, Named<'_>),
    ca: Option<Named<'_>>,
    revoked: Option<Named<'_>>,
    shows: Shows,
) -> Result<Arc<ServerConfig>> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS: {error}")))?;
    let config = match ca {
        None => config.with_no_client_auth(),
        Some(ca) => {
            let mut verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider());
            if let Some(revoked) = revoked {
                // Lists of other authorities than the certificate's say nothing about it.
                verifier = verifier.with_crls(revoked.revoked()?).allow_unknown_revocation_status();
            }
            if shows == Shows::May {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build().map_err(|error| {
                let file = revoked.unwrap_or(ca);
                let (setting, path) = (file.setting, file.path.display());
                Error::invalid(format!("{setting} '{path}' cannot be used: {error}"))
            })?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let (certificate, key) = own;
    let mut config = config
        .with_single_cert(certificate.certificates()?, key.key()?)
        .map_err(|error| do_not_go_together(certificate, key, &error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn roots(ca: Named<'_>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in ca.certificates()? {
        roots.add(certificate).map_err(|error| {
            let (setting, path) = (ca.setting, ca.path.display());
            Error::invalid(format!("{setting} '{path}' holds what is no authority: {error}"))
        })?;
    }
    Ok(roots)
}

fn do_not_go_together(certificate: Named<'_>, key: Named<'_>, error: &rustls::Error) -> Error {
    Error::invalid(format!(
        "{} '{}' and {} '{}' do not go together: {error}",
        certificate.setting,
        certificate.path.display(),
        key.setting,
        key.path.display()
    ))
}

/// What TLS itself says of a connection that it ended.
pub(super) fn said(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether the peer ended the connection because of the certificate that it was shown, or was not:
/// in TLS 1.3 whoever dials learns that only when it reads.
pub(in crate::rpc) fn refused_certificate(error: &io::Error) -> Option<&rustls::Error> {
    let said = said(error)?;
    let rustls::Error::AlertReceived(alert) = said else { return None };
    let is_about_it = matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    );
    is_about_it.then_some(said)
}
