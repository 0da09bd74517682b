"""Makes the tables of TPC-H, small, and DuckDB's answers to its queries beside them.

    python make.py    # with pyarrow and duckdb

The tables have TPC-H's columns, types and keys. Their rows are drawn from a seed, with what the
queries look for more often than in the benchmark's own, so that every query has rows to give.
"""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
RANDOM = random.Random(7)
SUPPLIERS, PARTS, CUSTOMERS, ORDERS = 40, 150, 100, 500

REGIONS = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
NATIONS = [
    ("ALGERIA", 0), ("ARGENTINA", 1), ("BRAZIL", 1), ("CANADA", 1), ("EGYPT", 4), ("ETHIOPIA", 0),
    ("FRANCE", 3), ("GERMANY", 3), ("INDIA", 2), ("INDONESIA", 2), ("IRAN", 4), ("IRAQ", 4),
    ("JAPAN", 2), ("JORDAN", 4), ("KENYA", 0), ("MOROCCO", 0), ("MOZAMBIQUE", 0), ("PERU", 1),
    ("CHINA", 2), ("ROMANIA", 3), ("SAUDI ARABIA", 4), ("VIETNAM", 2), ("RUSSIA", 3),
    ("UNITED KINGDOM", 3), ("UNITED STATES", 1),
]  # fmt: skip
WANTED_NATIONS = [2, 3, 6, 7, 8, 12, 20]
SEGMENTS = ["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"]
PRIORITIES = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"]
MODES = ["AIR", "AIR REG", "FOB", "MAIL", "RAIL", "SHIP", "TRUCK"]
INSTRUCTIONS = ["COLLECT COD", "DELIVER IN PERSON", "NONE", "TAKE BACK RETURN"]
COLORS = ["almond", "blue", "forest", "green", "ivory", "lace", "plum", "rose", "snow", "tan"]
WORDS = ["accounts", "deposits", "final", "ideas", "packages", "quickly", "silent", "slyly"]
TYPES = [
    "ECONOMY ANODIZED STEEL", "ECONOMY BURNISHED TIN", "LARGE BRUSHED BRASS", "MEDIUM PLATED BRASS",
    "MEDIUM POLISHED COPPER", "PROMO PLATED NICKEL", "PROMO POLISHED STEEL", "SMALL BRUSHED BRASS",
]  # fmt: skip
SIZES = [1, 3, 5, 9, 14, 15, 15, 15, 19, 23, 36, 45, 49]
# Brands with the containers that queries want of them.
KINDS = [
    ("Brand#12", "SM CASE"), ("Brand#12", "SM BOX"), ("Brand#23", "MED BOX"),
    ("Brand#23", "MED BAG"), ("Brand#34", "LG CASE"), ("Brand#34", "LG PKG"),
    ("Brand#45", "JUMBO JAR"), ("Brand#55", "WRAP CAN"),
]  # fmt: skip

MONEY = pa.decimal128(15, 2)
FIRST, LAST = dt.date(1992, 1, 1), dt.date(1998, 8, 2)
TODAY = dt.date(1995, 6, 17)


def money(low: int, high: int) -> Decimal:
    """An amount between two in cents."""
    return Decimal(RANDOM.randint(low, high)).scaleb(-2)


def text(words: int = 3) -> str:
    return " ".join(RANDOM.choice(WORDS) for _ in range(words))


def nation() -> int:
    return RANDOM.choice(WANTED_NATIONS if RANDOM.random() < 0.7 else range(len(NATIONS)))


def phone(nation: int) -> str:
    digits = [RANDOM.randint(100, 999), RANDOM.randint(100, 999), RANDOM.randint(1000, 9999)]
    return "-".join(map(str, [10 + nation, *digits]))


def table(rows: list[tuple[Any, ...]], **types: pa.DataType) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c, t) for c, t in zip(columns, types.values(), strict=True)]
    return pa.table(dict(zip(types, arrays, strict=True)))


def suppliers_of(part: int) -> list[int]:
    """The four suppliers of a part."""
    step = SUPPLIERS // 4
    return [(part + place * step) % SUPPLIERS + 1 for place in range(4)]


def dimensions() -> dict[str, pa.Table]:
    key, name = pa.int64(), pa.string()
    regions = [(i, region, text()) for i, region in enumerate(REGIONS)]
    nations = [(i, n, region, text()) for i, (n, region) in enumerate(NATIONS)]
    suppliers = []
    for i in range(1, SUPPLIERS + 1):
        home = nation()
        comment = "Customer slyly Complaints" if i % 9 == 0 else text()
        balance = money(-99999, 999999)
        suppliers.append((i, f"Supplier#{i:09}", text(2), home, phone(home), balance, comment))
    parts = []
    for i in range(1, PARTS + 1):
        brand, container = RANDOM.choice(KINDS)
        title = " ".join(RANDOM.sample(COLORS, 3))
        price = Decimal(90000 + i * 13 % 20001 + 100 * (i % 1000)).scaleb(-2)
        kind, size = RANDOM.choice(TYPES), RANDOM.choice(SIZES)
        mfgr = f"Manufacturer#{brand[6]}"
        parts.append((i, title, mfgr, brand, kind, size, container, price, text(1)))
    partsupps = [
        (part, supplier, RANDOM.randint(1, 200), money(100, 100000), text())
        for part in range(1, PARTS + 1)
        for supplier in suppliers_of(part)
    ]
    customers = []
    for i in range(1, CUSTOMERS + 1):
        home, segment = nation(), RANDOM.choice(SEGMENTS)
        balance = money(-99999, 999999)
        customers.append(
            (i, f"Customer#{i:09}", text(2), home, phone(home), balance, segment, text())
        )
    return {
        "region": table(regions, r_regionkey=key, r_name=name, r_comment=name),
        "nation": table(nations, n_nationkey=key, n_name=name, n_regionkey=key, n_comment=name),
        "supplier": table(
            suppliers, s_suppkey=key, s_name=name, s_address=name, s_nationkey=key, s_phone=name,
            s_acctbal=MONEY, s_comment=name,
        ),
        "part": table(
            parts, p_partkey=key, p_name=name, p_mfgr=name, p_brand=name, p_type=name,
            p_size=pa.int32(), p_container=name, p_retailprice=MONEY, p_comment=name,
        ),
        "partsupp": table(
            partsupps, ps_partkey=key, ps_suppkey=key, ps_availqty=pa.int32(), ps_supplycost=MONEY,
            ps_comment=name,
        ),
        "customer": table(
            customers, c_custkey=key, c_name=name, c_address=name, c_nationkey=key, c_phone=name,
            c_acctbal=MONEY, c_mktsegment=name, c_comment=name,
        ),
    }  # fmt: skip


def line(order: int, number: int, ordered: dt.date, large: bool) -> tuple[Any, ...]:
    part = RANDOM.randint(1, PARTS)
    quantity = RANDOM.randint(43, 50) if large else RANDOM.choice([*range(1, 51), 1, 2, 3])
    price = Decimal(quantity * (90000 + 100 * (part % 1000))).scaleb(-2)
    shipped = ordered + dt.timedelta(RANDOM.randint(1, 121))
    committed = ordered + dt.timedelta(RANDOM.randint(30, 90))
    received = shipped + dt.timedelta(RANDOM.randint(1, 30))
    returned = RANDOM.choice("RA") if received <= TODAY else "N"
    status = "O" if shipped > TODAY else "F"
    person = RANDOM.random() < 0.4
    return (
        order, part, RANDOM.choice(suppliers_of(part)), number, Decimal(quantity).quantize(Decimal("0.01")),
        price, money(0, 10), money(0, 8), returned, status, shipped, committed, received,
        "DELIVER IN PERSON" if person else RANDOM.choice(INSTRUCTIONS), RANDOM.choice(MODES), text(2),
    )  # fmt: skip


def facts() -> dict[str, pa.Table]:
    key, name, day = pa.int64(), pa.string(), pa.date32()
    orders, lines = [], []
    for i in range(ORDERS):
        # As in TPC-H: of 32 keys, the first eight are taken, and a third of customers never order.
        order = i // 8 * 32 + i % 8 + 1
        customer = RANDOM.choice([c for c in range(1, CUSTOMERS + 1) if c % 3])
        ordered = FIRST + dt.timedelta(RANDOM.randint(0, (LAST - FIRST).days - 151))
        large = i % 50 == 0
        count = 7 if large else RANDOM.randint(1, 7)
        mine = [line(order, number + 1, ordered, large) for number in range(count)]
        total = sum(
            (price * (1 - off) * (1 + tax) for *_, price, off, tax in (m[:8] for m in mine))
        )
        states = {m[9] for m in mine}
        status = states.pop() if len(states) == 1 else "P"
        comment = "special slyly requests" if RANDOM.random() < 0.2 else text()
        total = Decimal(total).quantize(Decimal("0.01"))
        clerk = f"Clerk#{RANDOM.randint(1, 9):09}"
        orders.append(
            (order, customer, status, total, ordered, RANDOM.choice(PRIORITIES), clerk, 0, comment)
        )
        lines.extend(mine)
    return {
        "orders": table(
            orders, o_orderkey=key, o_custkey=key, o_orderstatus=name, o_totalprice=MONEY,
            o_orderdate=day, o_orderpriority=name, o_clerk=name, o_shippriority=pa.int32(),
            o_comment=name,
        ),
        "lineitem": table(
            lines, l_orderkey=key, l_partkey=key, l_suppkey=key, l_linenumber=pa.int32(),
            l_quantity=MONEY, l_extendedprice=MONEY, l_discount=MONEY, l_tax=MONEY,
            l_returnflag=name, l_linestatus=name, l_shipdate=day, l_commitdate=day,
            l_receiptdate=day, l_shipinstruct=name, l_shipmode=name, l_comment=name,
        ),
    }  # fmt: skip


def shown(value: Any) -> str:
    return "NULL" if value is None else str(value)


def main() -> None:
    database = duckdb.connect()
    for name, rows in {**dimensions(), **facts()}.items():
        # Of several row groups, so that there are several tasks.
        path = HERE / f"{name}.parquet"
        pq.write_table(rows, path, row_group_size=400, compression="zstd")
        database.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet('{path}')")
    (HERE / "answers").mkdir(exist_ok=True)
    for query in sorted((HERE / "queries").glob("*.sql")):
        rows = database.execute(query.read_text()).fetchall()
        assert rows and rows[0][0] is not None, f"{query.name} has no rows"
        lines = [" | ".join(map(shown, row)) + "\n" for row in rows]
        (HERE / "answers" / f"{query.stem}.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
