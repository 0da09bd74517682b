//! What reading a store costs, in nanoseconds of one request's wall time: the model by which the
//! planner chooses ways to rows, and by which workers correct the choice.
//!
//! Only the order of costs matters. Those of local files were measured with Lance 14 on two cores,
//! files in the page cache; the tests say how. What is not in the page cache costs as the disk
//! does, takes more so than scans.

#[cfg(test)]
mod tests;

/// Scanning a value, beside its bytes.
const SCAN_NS_A_VALUE: f64 = 5.0;

/// Taking a value, beside reading its bytes.
const TAKE_NS_A_VALUE: f64 = 150.0;

/// Bytes that a scan reads at once, by the workers' default.
const SCAN_BYTES: f64 = 4.0 * 1024.0 * 1024.0;

/// Lance reads and decodes smaller values in blocks of `BLOCK_BYTES`, larger ones one by one.
const SMALL_VALUE_BYTES: f64 = 256.0;

/// How many reads are in flight where [`Storage::REMOTE`] holds, by the workers' default.
const REMOTE_IN_FLIGHT: f64 = 64.0;

/// A block of small values.
const BLOCK_BYTES: f64 = 8192.0;

/// What reading costs where a dataset is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storage {
    /// Reads with at most so many bytes between them are merged.
    merged_gap: f64,
    /// A read, while others are in flight.
    read_ns: f64,
    /// A byte that is read, decoded and handed on.
    ns_a_byte: f64,
}

/// Keys that come in requests of a bounded size.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// How many there are.
    pub count: u64,
    /// How many come at once. Only reads of one request are merged.
    pub at_once: u64,
}

impl Keys {
    /// How many requests there are.
    pub fn requests(self) -> f64 {
        self.count as f64 / self.at_once.clamp(1, self.count.max(1)) as f64
    }
}

impl Storage {
    /// Local disks.
    pub const LOCAL: Self = Self { merged_gap: 4096.0, read_ns: 500.0, ns_a_byte: 0.25 };

    /// Object stores: answers after some 50 ms, 64 in flight, a gigabyte a second. Not measured.
    pub const REMOTE: Self = Self { merged_gap: 65_536.0, read_ns: 800_000.0, ns_a_byte: 1.0 };

    /// What stores the dataset at a path or URI.
    pub fn of(uri: &str) -> Self {
        match uri.split_once("://") {
            Some((scheme, _)) if !scheme.starts_with("file") => Self::REMOTE,
            _ => Self::LOCAL,
        }
    }

    /// The same where no more requests may be in flight. Those to local disks hardly wait for each
    /// other.
    #[must_use]
    pub fn with_in_flight(self, most: Option<u64>) -> Self {
        let Some(most) = most.filter(|_| self != Self::LOCAL) else { return self };
        let longer = (REMOTE_IN_FLIGHT / most.max(1) as f64).max(1.0);
        Self { read_ns: self.read_ns * longer, ..self }
    }

    /// Reading so many consecutive values of a column, of so many bytes each.
    pub fn scan(self, rows: u64, value_bytes: u64) -> f64 {
        let rows = rows as f64;
        let bytes = rows * value_bytes as f64;
        let reads = (bytes / SCAN_BYTES).max(1.0).min(rows);
        reads * self.read_ns + bytes * self.ns_a_byte + rows * SCAN_NS_A_VALUE
    }

    /// Reading so many different values in one request, spread evenly over so many rows of a
    /// column.
    pub fn take(self, wanted: u64, rows: u64, value_bytes: u64) -> f64 {
        self.take_about(wanted.min(rows) as f64, rows, value_bytes)
    }

    /// Reading the values of the keys' rows from a column, if the keys are drawn evenly.
    pub fn take_keys(self, keys: Keys, rows: u64, value_bytes: u64) -> f64 {
        if keys.count == 0 || rows == 0 {
            return 0.0;
        }
        let requests = keys.requests();
        let wanted = rows as f64 * -(-(keys.count as f64) / requests / rows as f64).exp_m1();
        requests * self.take_about(wanted, rows, value_bytes)
    }

    fn take_about(self, wanted: f64, rows: u64, value_bytes: u64) -> f64 {
        if wanted == 0.0 {
            return 0.0;
        }
        let (rows, bytes) = (rows as f64, value_bytes.max(1) as f64);
        let others = 1.0 - wanted / rows;
        // A row is read together with the next wanted one, unless the gap between them is too wide.
        let reads = (wanted * others.powf(self.merged_gap / bytes)).max(1.0);
        let decoded = if bytes < SMALL_VALUE_BYTES {
            rows * (1.0 - others.powf(BLOCK_BYTES / bytes))
        } else {
            wanted
        };
        reads * self.read_ns + decoded * bytes * self.ns_a_byte + wanted * TAKE_NS_A_VALUE
    }
}
