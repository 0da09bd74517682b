//! Tells builds apart: what travels between processes is defined by this crate's sources and by the
//! versions of its dependencies, and promised across neither.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let (sources, lock) = (root.join("src"), root.join("../Cargo.lock"));
    let mut files = vec![lock];
    collect(&sources, &mut files)?;
    files.sort();
    let mut hash = Fnv::new();
    for file in &files {
        hash.add(file.strip_prefix(&root)?.to_string_lossy().as_bytes());
        // Line ends may differ between checkouts.
        hash.add(fs::read_to_string(file)?.replace("\r\n", "\n").as_bytes());
    }
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    println!("cargo::rustc-env=KEYLOOM_SOURCES={:08x}", hash.0 as u32);
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a: it need not keep anybody out, only be the same everywhere.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
