"""The promise of a cluster's catalog: its names are used as if they were attached."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import keyloom
import pytest
from keyloom import col
from keyloom.functions.kv import kv_get
from keyloom.kv import load_kv

Lance = Callable[..., str]


@pytest.fixture
def shared(lance: Lance, tmp_path: Path) -> Iterator[keyloom.Session]:
    """A session whose cluster describes a store of people and an input of their visits."""
    people = lance("people", {"id": [1, 2, 3], "name": ["ann", "bob", "cid"]})
    visits = tmp_path / "visits.csv"
    visits.write_text("visit,id\n10,3\n11,9\n")
    catalog = {
        "stores": {"people": {"kind": "lance", "uri": people, "key": "id"}},
        "inputs": {"visits": {"path": str(visits)}},
    }
    with keyloom.Session(settings={"coordinator": {"catalog": catalog}}) as session:
        yield session


def test_statements_and_frames_use_the_names(shared: keyloom.Session) -> None:
    assert shared.cluster_catalog() == {"stores": ["people"], "inputs": ["visits"]}
    assert shared.list_kv() == []
    joined = keyloom.sql(
        "SELECT v.visit, p.name FROM visits v LEFT JOIN people p ON v.id = p.id ORDER BY v.visit"
    )
    assert joined.to_pydict() == {"visit": [10, 11], "name": ["cid", None]}
    assert shared.list_kv() == ["people"]
    visits = shared.table("visits").where(col("visit") == 10)
    found = visits.select(kv_get("id", source="people")["name"].alias("name"))
    assert found.to_pydict() == {"name": ["cid"]}


def test_a_frame_opens_the_store_that_it_names_first(shared: keyloom.Session) -> None:
    frame = keyloom.from_pydict({"id": [2]})
    found = frame.select(kv_get("id", source="people")["name"].alias("name"))
    assert found.to_pydict() == {"name": ["bob"]}
    with pytest.raises(keyloom.NotFoundError, match="the cluster's catalog has 'people'"):
        frame.select(kv_get("id", source="persons"))


def test_a_store_of_the_cluster_is_asked_in_the_session(shared: keyloom.Session) -> None:
    people = shared.get_kv("people")
    assert people.get(1) == {"id": 1, "name": "ann"}
    assert (people.alias, people.backend_type, people.version) == ("people", "lance", 1)
    assert (
        repr(people) == "AttachedKV(alias='people', store=ClusterKV(name='people', kind='lance'))"
    )
    assert people.refresh().get(2) == {"id": 2, "name": "bob"}
    with pytest.raises(TypeError):
        pickle.dumps(people)


def test_what_is_attached_goes_before(shared: keyloom.Session) -> None:
    assert shared.get_kv("people").get(1) == {"id": 1, "name": "ann"}
    shared.attach(load_kv("memory", name="people", initial_data={1: "own"}))
    assert shared.get_kv("people").get(1) == {"key": 1, "value": "own"}
    with pytest.raises(keyloom.InvalidError, match="already attached"):
        shared.attach(load_kv("memory", name="people", initial_data={1: "other"}))


def test_a_store_can_be_current(shared: keyloom.Session) -> None:
    shared.set_kv("people")
    frame = keyloom.from_pydict({"id": [3]})
    assert frame.select(kv_get("id")["name"].alias("name")).to_pydict() == {"name": ["cid"]}


def test_a_project_s_catalog_goes_before_the_cluster_s(lance: Lance, tmp_path: Path) -> None:
    lance("people", {"id": [1], "name": ["ann"]})
    (tmp_path / "ages.csv").write_text("id,age\n1,30\n")
    (tmp_path / "keyloom.toml").write_text(
        "[stores.people]\nkind = 'lance'\nuri = 'people.lance'\nkey = 'id'\n"
        "[stores.ages]\nkind = 'memory'\npath = 'ages.csv'\nkey = 'id'\n"
        "[inputs.visits]\npath = 'ages.csv'\n"
    )
    other = {"stores": {"people": {"kind": "lance", "uri": "/no/such.lance"}}}
    settings = {"coordinator": {"catalog": other}}
    with keyloom.Session(settings=settings, catalog=tmp_path / "keyloom.toml") as session:
        assert session.list_kv() == ["ages"]
        rows = keyloom.sql(
            "SELECT id, kv_get(id, source => 'people')['name'] AS name,"
            " kv_get(id, source => 'ages')['age'] AS age FROM visits"
        )
        assert rows.to_pydict() == {"id": [1], "name": ["ann"], "age": [30]}
    with pytest.raises(keyloom.InvalidError, match=r"none\.toml: "):
        keyloom.Session(catalog=tmp_path / "none.toml")
