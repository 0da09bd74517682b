//! What is counted of a port: connections, how often the files that say who may connect were read
//! again, and until when its certificate is valid.

use std::sync::atomic::Ordering;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::{PortName, Reloads};
use crate::{
    error::{Error, ErrorKind},
    metrics::{Counted, Counters, Gauges, gauged, registered, registered_for},
};

/// The connections of a port. Clones count the same.
#[derive(Clone, Debug)]
pub struct ConnectionCounts {
    open: Gauge,
    accepted: Counter,
    refused: Counters<1>,
}

impl ConnectionCounts {
    /// Nothing is counted yet. It is told by this name, and by names that begin so.
    pub fn register(registry: &mut Registry, name: &str) -> Self {
        let accepted = "Connections whose handshake was done";
        let refused = "Connections that were refused, or whose handshake failed";
        let reasons = ErrorKind::ALL.map(|kind| [("reason", reason(kind))]);
        Self {
            open: registered(registry, name, "Connections that are open"),
            accepted: registered(registry, &format!("{name}_accepted"), accepted),
            refused: registered_for(registry, &format!("{name}_refused"), refused, reasons),
        }
    }

    /// One came in, which is open until this is dropped.
    pub fn accept(&self) -> Counted {
        self.accepted.inc();
        Counted::one(&self.open)
    }

    /// One was refused, or has failed.
    pub(super) fn refuse(&self, error: &Error) {
        self.refused.get_or_create(&[("reason", reason(error.kind()))]).inc();
    }
}

/// The word for why a connection was refused.
fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        // There was no place for it.
        ErrorKind::ResourceExhausted => "full",
        kind => kind.name(),
    }
}

/// How often a daemon has read its certificates and tokens again, by the port that they are for,
/// and until when those certificates are valid.
#[derive(Debug)]
pub struct SecurityReloads {
    reloads: Counters<2>,
    expiry: Gauges<1>,
}

impl SecurityReloads {
    /// Nothing is told yet.
    pub fn register(registry: &mut Registry) -> Self {
        let reloads = "How often certificates and tokens were read again";
        let expiry = "When the first of the own certificates expires, in seconds since 1970";
        Self {
            reloads: registered(registry, "security_reloads", reloads),
            expiry: registered(registry, "certificate_expiry_time_seconds", expiry),
        }
    }

    /// Tells what was counted for each port.
    pub fn set(&self, ports: impl IntoIterator<Item = (PortName, Reloads)>) {
        for (port, Reloads { succeeded, failed, valid_until }) in ports {
            let port = port.name();
            if let Some(until) = valid_until {
                self.expiry.get_or_create(&[("port", port)]).set(gauged(until));
            }
            for (outcome, count) in [("succeeded", succeeded), ("failed", failed)] {
                let labels = [("port", port), ("outcome", outcome)];
                // It is counted elsewhere, and only told here.
                let told = self.reloads.get_or_create_owned(&labels);
                told.inner().store(count, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::text;

    #[test]
    fn files_that_were_read_again_are_told_by_port() {
        let mut registry = Registry::default();
        let reloads = SecurityReloads::register(&mut registry);
        let of =
            |succeeded| Reloads { succeeded, failed: 1, valid_until: (succeeded > 1).then_some(7) };
        reloads.set([(PortName::Rpc, of(1)), (PortName::Http, of(5))]);
        reloads.set([(PortName::Rpc, of(2))]);
        let text = text(&registry);
        for line in [
            "security_reloads_total{port=\"rpc\",outcome=\"succeeded\"} 2",
            "security_reloads_total{port=\"rpc\",outcome=\"failed\"} 1",
            "security_reloads_total{port=\"http\",outcome=\"succeeded\"} 5",
            "certificate_expiry_time_seconds{port=\"rpc\"} 7",
        ] {
            assert!(text.lines().any(|told| told == line), "no '{line}' in\n{text}");
        }
    }
}
