//! Whether rows are compressed on their way from one worker to another.

use std::net::IpAddr;

use datafusion_distributed::CompressionType;
use serde::{Deserialize, Serialize};
use url::Url;

/// How rows are compressed that workers send each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShuffleCompression {
    /// By LZ4, unless all workers of a shuffle reach each other within one machine.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// By LZ4.
    Lz4,
}

impl ShuffleCompression {
    /// What workers at these addresses use.
    pub(super) fn among(self, workers: &[Url]) -> Option<CompressionType> {
        let is_used = match self {
            Self::Auto => !workers.iter().all(is_loopback),
            Self::None => false,
            Self::Lz4 => true,
        };
        is_used.then_some(CompressionType::LZ4_FRAME)
    }
}

/// Names are not looked up: those of other machines take time.
fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_leave_no_machine_are_not_compressed() {
        let lz4 = Some(CompressionType::LZ4_FRAME);
        let near = ["tcp://127.0.0.1:7801", "tls://localhost:7801", "tcp://[::1]:7801"];
        let far = ["tcp://127.0.0.1:7801", "tls://worker.internal:7801"];
        let other = ["tcp://10.0.0.5:7801", "tcp://[2001:db8::1]:7801", "tcp://127.example:1"];
        for (workers, auto) in [(&near[..], None), (&far, lz4), (&other, lz4)] {
            let workers: Vec<_> = workers.iter().map(|url| Url::parse(url).unwrap()).collect();
            assert_eq!(ShuffleCompression::Auto.among(&workers), auto, "{workers:?}");
            assert_eq!(ShuffleCompression::None.among(&workers), None);
            assert_eq!(ShuffleCompression::Lz4.among(&workers), lz4);
        }
        for url in &other {
            assert!(!is_loopback(&Url::parse(url).unwrap()), "{url}");
        }
    }
}
