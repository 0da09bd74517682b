//! The memory allocator of a daemon.
//!
//! Results pass through in buffers of a few MiB. Unless told otherwise, glibc gives these back to
//! the system as soon as they are freed, and the next ones are mapped page by page again: a sixth
//! of the time of a job with a large result.

/// Blocks up to this size come from memory that was freed before, if there is some. glibc takes no
/// larger bound (on 64 bits).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGEST_REUSED_BYTES: libc::c_int = 32 << 20;

/// Lets each arena of the allocator, of which there are up to eight a core, keep so many freed
/// bytes at its end for later use; with 0 the allocator does as it always does. All but the first
/// arena consist of heaps of 64 MiB, which they give back whole. Does nothing where the allocator
/// is not glibc's.
pub fn keep_freed_bytes(bytes: u64) {
    if bytes == 0 {
        return;
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // What it refuses stays as it was.
        #[expect(
            unsafe_code,
            reason = "mallopt takes plain numbers and locks the allocator itself"
        )]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_REUSED_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}
