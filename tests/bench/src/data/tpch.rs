//! TPC-H's tables, about as its own generator makes them, at a tenth of its unit of size. All of
//! them but the lines are stores.

use std::{
    fs::{self, File},
    io::BufWriter,
    ops::Range,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use arrow::{
    array::{
        ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch,
        RecordBatchIterator, StringArray,
    },
    error::ArrowError,
};
use datafusion::parquet::arrow::ArrowWriter;
use lance::{Dataset, dataset::WriteParams};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    FRAGMENT_ROWS, Scale,
    keys::mixed,
    tpch_words::{
        COLORS, CONTAINERS, INSTRUCTIONS, MODES, NATIONS, PRIORITIES, REGIONS, SEGMENTS, TYPES,
        each_of, one_of, phone, remark, several, words,
    },
};

/// The tables that are stores, and their keys.
pub(crate) const STORES: [(&str, &[&str]); 7] = [
    ("customer", &["c_custkey"]),
    ("nation", &["n_nationkey"]),
    ("orders", &["o_orderkey"]),
    ("part", &["p_partkey"]),
    ("partsupp", &["ps_partkey", "ps_suppkey"]),
    ("region", &["r_regionkey"]),
    ("supplier", &["s_suppkey"]),
];

/// Rows at scale 1.
const SUPPLIERS: u64 = 1_000;
const PARTS: u64 = 20_000;
const CUSTOMERS: u64 = 15_000;
const ORDERS: u64 = 150_000;

/// Rows of a batch; orders of a row group of lines.
const STEP: u64 = 10_000;

/// Days since 1970.
const FIRST_ORDER: i32 = 8035;
const LAST_ORDER: i32 = 10_440 - 151;
const TODAY: i32 = 9298;

/// How large the tables are, and what they are drawn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tpch {
    scale: Scale,
    seed: u64,
}

type Batch = Result<RecordBatch, ArrowError>;
type Batches = Box<dyn Iterator<Item = Batch> + Send>;
type Column = (&'static str, ArrayRef);

impl Tpch {
    pub(super) fn new(scale: Scale, seed: u64) -> Self {
        Self { scale, seed }
    }

    /// Writes all tables into a folder: `NAME.lance` and `lineitem.parquet`.
    pub(super) async fn write(self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for (name, _) in STORES {
            let mut batches = self.table(name).peekable();
            let schema = match batches.peek() {
                Some(Ok(batch)) => batch.schema(),
                _ => anyhow::bail!("{name} has no rows"),
            };
            let path = folder.join(format!("{name}.lance"));
            let uri = path.to_str().context("the path is not UTF-8")?;
            let params = WriteParams { max_rows_per_file: FRAGMENT_ROWS, ..WriteParams::default() };
            Dataset::write(RecordBatchIterator::new(batches, schema), uri, Some(params)).await?;
        }
        self.write_lines(&folder.join("lineitem.parquet"))
    }

    fn write_lines(self, path: &Path) -> Result<()> {
        let mut lines = self.batches(self.orders(), "orders", move |rows, random| {
            Ok(self.ordered(rows, random)?.1)
        });
        let first = lines.next().context("there are no lines")??;
        let file = BufWriter::new(File::create(path)?);
        let mut writer = ArrowWriter::try_new(file, first.schema(), None)?;
        for batch in std::iter::once(Ok(first)).chain(lines) {
            writer.write(&batch?)?;
            writer.flush()?;
        }
        writer.close()?;
        Ok(())
    }

    fn table(self, name: &'static str) -> Batches {
        match name {
            "region" => self.batches(REGIONS.len() as u64, name, regions),
            "nation" => self.batches(NATIONS.len() as u64, name, nations),
            "supplier" => self.batches(self.suppliers(), name, suppliers),
            "part" => self.batches(self.scale.rows(PARTS), name, parts),
            "customer" => self.batches(self.scale.rows(CUSTOMERS), name, customers),
            "partsupp" => self.batches(self.scale.rows(PARTS), name, move |rows, random| {
                self.partsupps(rows, random)
            }),
            _ => self.batches(self.orders(), name, move |rows, random| {
                Ok(self.ordered(rows, random)?.0)
            }),
        }
    }

    fn suppliers(self) -> u64 {
        self.scale.rows(SUPPLIERS)
    }

    fn orders(self) -> u64 {
        self.scale.rows(ORDERS)
    }

    /// Batches of rows by their numbers; those of one name are the same whenever they are made.
    fn batches(
        self,
        rows: u64,
        name: &str,
        make: impl Fn(Range<u64>, &mut SmallRng) -> Batch + Send + 'static,
    ) -> Batches {
        let seed = name.bytes().fold(self.seed, |seed, byte| mixed(seed ^ u64::from(byte)));
        Box::new((0..rows).step_by(STEP as usize).map(move |start| {
            let mut random = SmallRng::seed_from_u64(mixed(seed ^ start));
            make(start..rows.min(start + STEP), &mut random)
        }))
    }

    /// One of the four suppliers of a part.
    fn supplier_of(self, part: i64, place: i64) -> i64 {
        let suppliers = self.suppliers() as i64;
        (part + place * (suppliers / 4 + (part - 1) / suppliers)) % suppliers + 1
    }

    fn partsupps(self, rows: Range<u64>, random: &mut SmallRng) -> Batch {
        let pairs = numbers(rows).flat_map(|part| (0..4).map(move |place| (part, place)));
        let pairs = pairs.map(|(part, place)| (part, self.supplier_of(part, place)));
        let (parts, suppliers): (Vec<_>, Vec<_>) = pairs.unzip();
        let rows = parts.len();
        let available = (0..rows).map(|_| random.random_range(1..10_000)).collect::<Vec<i32>>();
        let costs = (0..rows).map(|_| random.random_range(100..=100_000)).collect();
        batch([
            ("ps_partkey", longs(parts)),
            ("ps_suppkey", longs(suppliers)),
            ("ps_availqty", ints(available)),
            ("ps_supplycost", money(costs)?),
            ("ps_comment", texts(rows, |_| words(random, 12))),
        ])
    }

    /// Orders and their lines.
    fn ordered(self, rows: Range<u64>, random: &mut SmallRng) -> Result<Pair, ArrowError> {
        let (mut orders, mut lines) = (Orders::default(), Lines::default());
        let customers = self.scale.rows(CUSTOMERS).max(2) as i64;
        for number in rows {
            // Of 32 keys, the first eight are taken, and a third of the customers never order.
            let key = (number / 8 * 32 + number % 8 + 1) as i64;
            let customer = random.random_range(1..=customers);
            let customer = if customer % 3 == 0 { customer - 1 } else { customer };
            let date = random.random_range(FIRST_ORDER..=LAST_ORDER);
            let before = lines.keys.len();
            let mut total = 0;
            for line in 1..=random.random_range(1..=7) {
                let part = random.random_range(1..=self.scale.rows(PARTS) as i64);
                let supplier = self.supplier_of(part, random.random_range(0..4));
                total += lines.push(key, line, (part, supplier), date, random);
            }
            let shipped = lines.statuses[before..].iter().filter(|status| **status == "F").count();
            let status = match shipped {
                0 => "O",
                all if all == lines.keys.len() - before => "F",
                _ => "P",
            };
            orders.keys.push(key);
            orders.customers.push(customer);
            orders.statuses.push(status);
            orders.totals.push(total);
            orders.dates.push(date);
        }
        Ok((orders.batch(random)?, lines.batch(random)?))
    }
}

type Pair = (RecordBatch, RecordBatch);

#[derive(Debug, Default)]
struct Orders {
    keys: Vec<i64>,
    customers: Vec<i64>,
    statuses: Vec<&'static str>,
    totals: Vec<i128>,
    dates: Vec<i32>,
}

impl Orders {
    fn batch(self, random: &mut SmallRng) -> Batch {
        let rows = self.keys.len();
        batch([
            ("o_orderkey", longs(self.keys)),
            ("o_custkey", longs(self.customers)),
            ("o_orderstatus", Arc::new(StringArray::from(self.statuses))),
            ("o_totalprice", money(self.totals)?),
            ("o_orderdate", Arc::new(Date32Array::from(self.dates))),
            ("o_orderpriority", texts(rows, |_| one_of(random, &PRIORITIES).to_owned())),
            ("o_clerk", texts(rows, |_| format!("Clerk#{:09}", random.random_range(1..1000)))),
            ("o_shippriority", ints(vec![0; rows])),
            ("o_comment", texts(rows, |_| remark(random, "special requests"))),
        ])
    }
}

#[derive(Debug, Default)]
struct Lines {
    keys: Vec<i64>,
    numbers: Vec<i32>,
    parts: Vec<i64>,
    suppliers: Vec<i64>,
    quantities: Vec<i128>,
    prices: Vec<i128>,
    discounts: Vec<i128>,
    taxes: Vec<i128>,
    flags: Vec<&'static str>,
    statuses: Vec<&'static str>,
    shipped: Vec<i32>,
    committed: Vec<i32>,
    received: Vec<i32>,
}

impl Lines {
    /// Adds a line, and tells its price in cents.
    fn push(
        &mut self,
        order: i64,
        number: i32,
        (part, supplier): (i64, i64),
        date: i32,
        random: &mut SmallRng,
    ) -> i128 {
        let quantity: i128 = random.random_range(1..=50);
        let (discount, tax) = (random.random_range(0..=10), random.random_range(0..=8));
        let price = quantity * i128::from(retail_cents(part));
        let shipped = date + random.random_range(1..=121);
        let received = shipped + random.random_range(1..=30);
        let returned = if random.random() { "R" } else { "A" };
        self.keys.push(order);
        self.numbers.push(number);
        self.parts.push(part);
        self.suppliers.push(supplier);
        self.quantities.push(quantity * 100);
        self.prices.push(price);
        self.discounts.push(discount);
        self.taxes.push(tax);
        self.flags.push(if received <= TODAY { returned } else { "N" });
        self.statuses.push(if shipped > TODAY { "O" } else { "F" });
        self.shipped.push(shipped);
        self.committed.push(date + random.random_range(30..=90));
        self.received.push(received);
        price * (100 - discount) * (100 + tax) / 10_000
    }

    fn batch(self, random: &mut SmallRng) -> Batch {
        let rows = self.keys.len();
        batch([
            ("l_orderkey", longs(self.keys)),
            ("l_partkey", longs(self.parts)),
            ("l_suppkey", longs(self.suppliers)),
            ("l_linenumber", ints(self.numbers)),
            ("l_quantity", money(self.quantities)?),
            ("l_extendedprice", money(self.prices)?),
            ("l_discount", money(self.discounts)?),
            ("l_tax", money(self.taxes)?),
            ("l_returnflag", Arc::new(StringArray::from(self.flags))),
            ("l_linestatus", Arc::new(StringArray::from(self.statuses))),
            ("l_shipdate", Arc::new(Date32Array::from(self.shipped))),
            ("l_commitdate", Arc::new(Date32Array::from(self.committed))),
            ("l_receiptdate", Arc::new(Date32Array::from(self.received))),
            ("l_shipinstruct", texts(rows, |_| one_of(random, &INSTRUCTIONS).to_owned())),
            ("l_shipmode", texts(rows, |_| one_of(random, &MODES).to_owned())),
            ("l_comment", texts(rows, |_| words(random, 4))),
        ])
    }
}

fn regions(rows: Range<u64>, random: &mut SmallRng) -> Batch {
    let rows = rows.end - rows.start;
    batch([
        ("r_regionkey", longs((0..rows as i64).collect())),
        ("r_name", Arc::new(StringArray::from(REGIONS.to_vec()))),
        ("r_comment", texts(rows as usize, |_| words(random, 8))),
    ])
}

fn nations(rows: Range<u64>, random: &mut SmallRng) -> Batch {
    let rows = rows.end - rows.start;
    let (names, regions): (Vec<_>, Vec<_>) = NATIONS.into_iter().unzip();
    batch([
        ("n_nationkey", longs((0..rows as i64).collect())),
        ("n_name", Arc::new(StringArray::from(names))),
        ("n_regionkey", longs(regions)),
        ("n_comment", texts(rows as usize, |_| words(random, 8))),
    ])
}

fn suppliers(rows: Range<u64>, random: &mut SmallRng) -> Batch {
    let keys: Vec<_> = numbers(rows).collect();
    let (rows, nations) = (keys.len(), homes(keys.len(), random));
    let balances = (0..rows).map(|_| random.random_range(-99_999..=999_999)).collect();
    batch([
        ("s_suppkey", longs(keys.clone())),
        ("s_name", texts(rows, |row| format!("Supplier#{:09}", keys[row]))),
        ("s_address", texts(rows, |_| words(random, 3))),
        ("s_nationkey", longs(nations.clone())),
        ("s_phone", texts(rows, |row| phone(nations[row], random))),
        ("s_acctbal", money(balances)?),
        ("s_comment", texts(rows, |_| remark(random, "Customer Complaints"))),
    ])
}

fn parts(rows: Range<u64>, random: &mut SmallRng) -> Batch {
    let keys: Vec<_> = numbers(rows).collect();
    let rows = keys.len();
    let brands: Vec<_> =
        (0..rows).map(|_| (random.random_range(1..=5), random.random_range(1..=5))).collect();
    let sizes = (0..rows).map(|_| random.random_range(1..=50)).collect();
    let prices = keys.iter().map(|part| retail_cents(*part).into()).collect();
    batch([
        ("p_partkey", longs(keys)),
        ("p_name", texts(rows, |_| several(random, &COLORS, 5))),
        ("p_mfgr", texts(rows, |row| format!("Manufacturer#{}", brands[row].0))),
        ("p_brand", texts(rows, |row| format!("Brand#{}{}", brands[row].0, brands[row].1))),
        ("p_type", texts(rows, |_| each_of(random, &TYPES))),
        ("p_size", ints(sizes)),
        ("p_container", texts(rows, |_| each_of(random, &CONTAINERS))),
        ("p_retailprice", money(prices)?),
        ("p_comment", texts(rows, |_| words(random, 2))),
    ])
}

fn customers(rows: Range<u64>, random: &mut SmallRng) -> Batch {
    let keys: Vec<_> = numbers(rows).collect();
    let (rows, nations) = (keys.len(), homes(keys.len(), random));
    let balances = (0..rows).map(|_| random.random_range(-99_999..=999_999)).collect();
    batch([
        ("c_custkey", longs(keys.clone())),
        ("c_name", texts(rows, |row| format!("Customer#{:09}", keys[row]))),
        ("c_address", texts(rows, |_| words(random, 3))),
        ("c_nationkey", longs(nations.clone())),
        ("c_phone", texts(rows, |row| phone(nations[row], random))),
        ("c_acctbal", money(balances)?),
        ("c_mktsegment", texts(rows, |_| one_of(random, &SEGMENTS).to_owned())),
        ("c_comment", texts(rows, |_| words(random, 10))),
    ])
}

/// Keys count from 1.
fn numbers(rows: Range<u64>) -> impl Iterator<Item = i64> {
    rows.start as i64 + 1..rows.end as i64 + 1
}

fn homes(rows: usize, random: &mut SmallRng) -> Vec<i64> {
    (0..rows).map(|_| random.random_range(0..NATIONS.len() as i64)).collect()
}

fn retail_cents(part: i64) -> i64 {
    90_000 + part / 10 % 20_001 + 100 * (part % 1000)
}

fn batch<const N: usize>(columns: [Column; N]) -> Batch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
}

fn longs(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn ints(values: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(values))
}

/// Amounts from cents.
fn money(cents: Vec<i128>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(Decimal128Array::from(cents).with_precision_and_scale(15, 2)?))
}

fn texts(rows: usize, text: impl FnMut(usize) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..rows).map(text)))
}
