"""Joins with attached stores in SQL, whichever way they go, against the joins of Polars and pyarrow."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import keyloom
import polars as pl
import pyarrow as pa
import pytest
from keyloom.kv import load_kv

VISITS = 400
PEOPLE = 60
CITIES = ["paris", "rome", "oslo"]
PATHS = ["auto", "lookup", "scan"]
JOINS = {
    "inner": "JOIN",
    "left": "LEFT JOIN",
    "right": "RIGHT JOIN",
    "full": "FULL JOIN",
    "semi": "LEFT SEMI JOIN",
    "anti": "LEFT ANTI JOIN",
}
"""Polars' names for them, and SQL's."""


def visits_table() -> pa.Table:
    """Visits by people, some of whom nobody knows, in cities."""
    person = [None if n % 11 == 0 else f"p{n * 37 % 80}" for n in range(VISITS)]
    city = [None if n % 13 == 0 else [*CITIES, "bern"][n % 4] for n in range(VISITS)]
    return pa.table({"visit": list(range(VISITS)), "person": person, "city": city})


def people_table() -> pa.Table:
    """A row a person."""
    numbers = range(PEOPLE)
    return pa.table(
        {
            "person": [f"p{n}" for n in numbers],
            "value": [None if n % 7 == 0 else n for n in numbers],
            "home": [None if n % 5 == 0 else CITIES[n % 3] for n in numbers],
        }
    )


def orders_table() -> pa.Table:
    """Of some people there are several; of one nobody knows whose it is."""
    person = [None, *(f"p{n * n % 50}" for n in range(90))]
    return pa.table({"person": person, "value": list(range(91))})


def fares_table() -> pa.Table:
    """A row for each of some people in each city."""
    pairs = [(f"p{n}", city) for n in range(40) for city in CITIES]
    person, city = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return pa.table({"person": person, "city": city, "fare": list(range(len(pairs)))})


@pytest.fixture(params=["embedded", "cluster"])
def place(request: pytest.FixtureRequest) -> str | None:
    """The address of the cluster, if the queries are to run there."""
    return None if request.param == "embedded" else request.getfixturevalue("cluster")


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    """The way of joins with stores."""
    return str(request.param)


@pytest.fixture(autouse=True)
def stores(place: str | None, path: str, lance: Callable[..., str]) -> Iterator[None]:
    """A session whose joins go this way, with the stores."""
    settings = {"task_rows": 100, "join_path": path}
    if place is None:
        session = keyloom.Session(settings={"session": settings})
    else:
        session = keyloom.connect(place, settings=settings)
    with session:
        for name, rows in {"people": people_table(), "orders": orders_table()}.items():
            keyloom.attach(load_kv("lance", name=name, uri=lance(name, rows, 25), key="person"))
        fares = lance("fares", fares_table(), 25)
        keyloom.attach(load_kv("lance", name="fares", uri=fares, key=["person", "city"]))
        countries = {"city": CITIES, "country": ["FR", "IT", "NO"]}
        keyloom.attach(load_kv("memory", name="cities", initial_data=countries, key="city"))
        yield


def rows(table: Any) -> list[tuple[Any, ...]]:
    """The rows of a table in an order, nulls last."""
    table = pl.from_arrow(table) if isinstance(table, pa.Table) else table
    return sorted(table.rows(), key=lambda row: [(v is None, v) for v in row])


def found(statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement over the visits."""
    return rows(keyloom.sql(statement, visits=keyloom.from_arrow(visits_table())).to_arrow())


def polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


@pytest.mark.parametrize("how", JOINS)
@pytest.mark.parametrize("store", ["people", "orders"])
def test_joins_are_those_of_polars(how: str, store: str) -> None:
    held = people_table() if store == "people" else orders_table()
    joined = polars(visits_table()).join(polars(held), on="person", how=how)
    columns = ["visit"] if how in ("semi", "anti") else ["visit", "value"]
    statement = f"SELECT {', '.join(columns)} FROM visits v {JOINS[how]} {store} s"
    assert found(f"{statement} ON v.person = s.person") == rows(joined.select(columns))


@pytest.mark.parametrize("how", ["inner", "left"])
def test_joins_by_names_are_those_of_polars(how: str) -> None:
    joined = polars(visits_table()).join(polars(orders_table()), on="person", how=how)
    statement = f"SELECT visit, value FROM visits {JOINS[how]} orders USING (person)"
    assert found(statement) == rows(joined.select("visit", "value"))


@pytest.mark.parametrize("how, join", [("inner", "JOIN"), ("left outer", "LEFT JOIN")])
def test_joins_by_keys_of_two_columns_are_those_of_pyarrow(how: str, join: str) -> None:
    joined = visits_table().join(fares_table(), keys=["person", "city"], join_type=how)
    statement = f"SELECT visit, fare FROM visits v {join} fares f"
    statement += " ON v.person = f.person AND v.city = f.city"
    assert found(statement) == rows(joined.select(["visit", "fare"]))


@pytest.mark.parametrize("how, word", [("left semi", "IN"), ("left anti", "NOT IN")])
def test_subqueries_are_the_semi_and_anti_joins_of_pyarrow(how: str, word: str) -> None:
    joined = visits_table().join(people_table(), keys="person", join_type=how)
    # A null is neither among the keys nor not.
    known = joined.filter(joined["person"].is_valid())
    statement = f"SELECT visit FROM visits WHERE person {word} (SELECT person FROM people)"
    assert found(statement) == rows(known.select(["visit"]))


def test_stores_are_joined_through_others() -> None:
    people, cities = (
        polars(people_table()),
        pl.DataFrame({"home": CITIES, "country": ["FR", "IT", "NO"]}),
    )
    joined = polars(visits_table()).join(people, on="person", how="left")
    joined = joined.join(cities, on="home", how="left").join(
        polars(fares_table()).rename({"city": "home"}), on=["person", "home"], how="left"
    )
    statement = """
        SELECT v.visit, p.value, c.country, f.fare
        FROM visits v
        LEFT JOIN people p ON v.person = p.person
        LEFT JOIN cities c ON p.home = c.city
        LEFT JOIN fares f ON p.person = f.person AND p.home = f.city
    """
    assert found(statement) == rows(joined.select("visit", "value", "country", "fare"))


def test_conditions_decide_what_matches() -> None:
    held = polars(orders_table()).filter(pl.col("value") > 50)
    joined = polars(visits_table()).join(held, on="person", how="left")
    statement = "SELECT visit, value FROM visits v LEFT JOIN orders o ON v.person = o.person"
    assert found(f"{statement} AND o.value > 50") == rows(joined.select("visit", "value"))
    kept = joined.filter(pl.col("value") > 50)
    assert found(f"{statement} WHERE o.value > 50") == rows(kept.select("visit", "value"))


def test_groups_and_limits_of_joins_are_those_of_polars() -> None:
    joined = polars(visits_table()).join(polars(people_table()), on="person", how="left")
    groups = joined.group_by("home").agg(pl.len(), pl.col("value").sum())
    statement = "SELECT home, count(*), coalesce(sum(value), 0)"
    statement += " FROM visits v LEFT JOIN people p ON v.person = p.person GROUP BY home"
    assert found(statement) == rows(groups)
    last = joined.sort("visit", descending=True).head(5).select("visit", "value")
    statement = "SELECT visit, value FROM visits v LEFT JOIN people p ON v.person = p.person"
    assert found(f"{statement} ORDER BY visit DESC LIMIT 5") == rows(last)


def test_a_store_alone_is_a_table() -> None:
    people = polars(people_table())
    statement = "SELECT person, value FROM people"
    assert found(statement) == rows(people.select("person", "value"))
    some = people.filter(pl.col("person").is_in(["p3", "p7", "p99"]))
    named = found(f"{statement} WHERE person IN ('p3', 'p7', 'p99')")
    assert named == rows(some.select("person", "value"))


def test_a_plan_shows_which_way_a_join_goes(path: str) -> None:
    visits = keyloom.from_arrow(visits_table())
    joined = keyloom.sql("SELECT visit, value FROM visits LEFT JOIN people USING (person)")
    assert visits.column_names == ["visit", "person", "city"]
    text = io.StringIO()
    joined.explain(file=text)
    plan = text.getvalue()
    assert ("KvLookupExec" in plan) == (path != "scan")
    assert ("HashJoinExec" in plan) == (path == "scan")
