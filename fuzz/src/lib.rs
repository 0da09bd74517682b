//! What all programs here share: a bound on what is allocated, and what is said of a panic.
//!
//! libFuzzer's own bound of allocations needs a sanitizer. And it ends a process at any panic,
//! though some are caught where libraries are called, as they should be.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::RefCell,
    io::{stderr, Write},
    panic::{catch_unwind, set_hook},
    process::abort,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The most bytes that are allocated at once, and that are allocated in all.
const MOST_AT_ONCE: usize = 64 << 20;
const MOST: usize = 1 << 30;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded { held: AtomicUsize::new(0) };

/// The system's allocator, which ends the process where more is asked for than there may be.
struct Bounded {
    held: AtomicUsize,
}

impl Bounded {
    fn take(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if bytes > MOST_AT_ONCE || held > MOST {
            // Nothing is allocated for these words.
            let _ = stderr().write_all(b"more is allocated than may be\n");
            abort();
        }
    }
}

// SAFETY: the system's allocator does all of it; the bytes are only counted.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.take(size);
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        System.realloc(place, layout, size)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        System.dealloc(place, layout);
    }
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Before the first bytes: a panic is kept for later instead of said.
pub fn start() {
    set_hook(Box::new(|panic| LAST.set(panic.to_string())));
}

/// Feeds a body. A panic that nobody caught is said, and ends the process.
pub fn run(body: fn(&[u8]), bytes: &[u8]) {
    if catch_unwind(|| body(bytes)).is_err() {
        let _ = writeln!(stderr(), "{}", LAST.take());
        abort();
    }
}
