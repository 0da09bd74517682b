//! Damage to encodings, drawn at random.

use std::{
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

const CASES: u32 = 1_000;

/// Numbers at the ends of what lengths, places and counts may be.
const ENDS: [u64; 9] =
    [0, 1, 0x7f, 0xff, i32::MAX as u64, u32::MAX as u64, 1 << 40, i64::MAX as u64, u64::MAX];

/// One change.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    /// A bit is another.
    Flip { at: Index, bit: u32 },
    /// A number of so many bytes stands there.
    Number { at: Index, number: u64, width: usize },
    /// The bytes end there.
    Cut { at: Index },
    /// A piece stands a second time, in the place of some bytes.
    Copy { from: Index, length: usize, to: Index, replaced: usize },
    /// They are others altogether.
    Noise { bytes: Vec<u8> },
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let all = bytes.len();
        if all == 0 {
            return;
        }
        match self {
            Self::Flip { at, bit } => bytes[at.index(all)] ^= 1_u8 << *bit,
            Self::Number { at, number, width } => {
                let start = at.index(all);
                let end = all.min(start + *width);
                bytes[start..end].copy_from_slice(&number.to_le_bytes()[..end - start]);
            }
            Self::Cut { at } => bytes.truncate(at.index(all)),
            Self::Copy { from, length, to, replaced } => {
                let (from, to) = (from.index(all), to.index(all));
                let piece = bytes[from..all.min(from + *length)].to_vec();
                drop(bytes.splice(to..all.min(to + *replaced), piece));
            }
            Self::Noise { bytes: noise } => bytes.clone_from(noise),
        }
    }
}

/// Several changes, one after the other.
pub(super) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<Index>;
    let number = prop_oneof![select(ENDS.to_vec()), any::<u64>()];
    let damage = prop_oneof![
        8 => (at(), 0..8_u32).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        8 => (at(), number, 1..=8_usize)
            .prop_map(|(at, number, width)| Damage::Number { at, number, width }),
        2 => at().prop_map(|at| Damage::Cut { at }),
        4 => (at(), 1..64_usize, at(), 0..64_usize).prop_map(|(from, length, to, replaced)| {
            Damage::Copy { from, length, to, replaced }
        }),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Damage::Noise { bytes }),
    ];
    prop::collection::vec(damage, 1..5)
}

/// The bytes with changes.
pub(super) fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    damages.iter().for_each(|damage| damage.apply(&mut bytes));
    bytes
}

/// What draws; `KEYLOOM_SEED` repeats a run.
pub(super) fn runner(what: &str, seed: u64) -> TestRunner {
    let seed = std::env::var("KEYLOOM_SEED").map_or(seed, |seed| seed.parse().unwrap());
    let cases = std::env::var("KEYLOOM_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    // Said before, and not by a macro, whose words a test keeps: a process that is aborted keeps
    // them for good.
    let _ = writeln!(io::stderr(), "{what}: KEYLOOM_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new_with_rng(config, rng)
}

/// Damages encodings and decodes them: whatever comes of it, it must be no panic.
pub(super) fn check_all(what: &str, encodings: &[Vec<u8>], decode: impl Fn(Vec<u8>)) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let outcome = runner(what, seed).run(&(any::<Index>(), damages()), |(which, damages)| {
        decode(damaged(which.get::<Vec<u8>>(encodings), &damages));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{what}: {error}");
    }
}
