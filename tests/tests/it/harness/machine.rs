//! Another machine, for tests of a network that breaks: a network namespace, which a cable of its
//! own (a veth pair) joins to the network of this one. The link goes down at either end when a test
//! says so.

use std::{
    io::{BufRead, BufReader, Read},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};

/// The other machine's end of the cable, as that machine names it.
const DEVICE: &str = "cable";

/// Made machines get networks of four addresses each, of those that are set apart for tests of
/// networks (RFC 2544): here, there, and two that are nobody's.
const NETWORKS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const NETWORK_COUNT: u32 = 1 << 15;
const NETWORK_ADDRESSES: u32 = 4;

/// The ends of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// This machine's.
    Here,
    /// The other machine's.
    There,
}

/// Another machine. It goes when this is dropped, or when the process of the tests ends, however
/// it ends; what was started on it has to end by itself.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Also that of this machine's end of the cable.
    name: String,
    here: Ipv4Addr,
    there: Ipv4Addr,
    shell: Child,
}

/// Makes a machine, and takes it away when our end of a pipe closes. What goes to a network whose
/// link is down must not go elsewhere: there is a route that refuses it.
const SHELL: &str = r#"
name=$1 device=$2 network=$3 here=$4 there=$5
trap '' HUP INT TERM
make() {
    ip netns add "$name" &&
    ip link add "$name" type veth peer name "$device" netns "$name" &&
    ip address add "$here/30" dev "$name" &&
    ip -n "$name" address add "$there/30" dev "$device" &&
    ip -n "$name" link set lo up &&
    ip -n "$name" link set "$device" up &&
    ip link set "$name" up &&
    ip route add unreachable "$network/30" metric 9999
}
if make; then
    echo made
    cat >/dev/null
    ip route delete unreachable "$network/30" metric 9999
fi
ip link delete "$name" 2>/dev/null
ip netns delete "$name" 2>/dev/null
"#;

impl Machine {
    /// None, and why, if this process may make none.
    pub(crate) fn make() -> Result<Result<Self, String>> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (process, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let name = format!("kl{process}-{made}");
        // Several test processes may run at once; hardly one makes more than eight.
        let number = process.wrapping_mul(8).wrapping_add(made) % NETWORK_COUNT;
        let network = u32::from(NETWORKS) + number * NETWORK_ADDRESSES;
        let [network, here, there] = [0, 1, 2].map(|host| Ipv4Addr::from(network + host));
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, "sh", &name, DEVICE]);
        command.args([network, here, there].map(|address| address.to_string()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut machine = Self { name, here, there, shell: command.spawn()? };
        let stdout = machine.shell.stdout.take().context("stdout is piped")?;
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        if said == "made\n" {
            return Ok(Ok(machine));
        }
        let mut why = String::new();
        let stderr = machine.shell.stderr.as_mut().context("stderr is piped")?;
        stderr.read_to_string(&mut why)?;
        Ok(Err(why))
    }

    /// This machine's address on the cable.
    pub(crate) fn here(&self) -> Ipv4Addr {
        self.here
    }

    /// The other machine's address.
    pub(crate) fn there(&self) -> Ipv4Addr {
        self.there
    }

    /// How command lines begin whose programs run on the other machine, as the same process.
    pub(crate) fn command(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Takes the link down at an end. Nobody is told.
    pub(crate) fn link_down(&self, end: End) -> Result<()> {
        self.set_link(end, "down")
    }

    /// Takes it up again.
    pub(crate) fn link_up(&self, end: End) -> Result<()> {
        self.set_link(end, "up")
    }

    fn set_link(&self, end: End, state: &str) -> Result<()> {
        let mut ip = Command::new("ip");
        match end {
            End::Here => ip.args(["link", "set", &self.name, state]),
            End::There => ip.args(["-n", &self.name, "link", "set", DEVICE, state]),
        };
        let output = ip.output()?;
        ensure!(output.status.success(), "{ip:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell ends by itself now, once the machine is gone.
        let _ = self.shell.wait();
    }
}
