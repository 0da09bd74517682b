"""The guide's promise: its code runs as it is written, embedded and on a cluster.

Every block of code is taken from ``guide/multi_source_kv_guide.md``, and its values are compared.
Import lines get this package's name and the two URIs local datasets; nothing else is changed. The
stores that a block presumes are attached before it: Lance datasets without a ``key``, as in the
guide, and memory stores.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keyloom
import pyarrow as pa
import pytest
from keyloom.functions.kv import kv_batch_get, kv_exists, kv_get
from keyloom.kv import load_kv

GUIDE = Path(__file__).parent / "guide" / "multi_source_kv_guide.md"
TEXT = GUIDE.read_text()

IMPORTS = {
    "import daft": "import keyloom as daft",
    "from daft.kv import load_kv": "from keyloom.kv import load_kv",
    "from daft.functions.kv import kv_get, kv_batch_get, kv_exists": (
        "from keyloom.functions.kv import kv_get, kv_batch_get, kv_exists"
    ),
}

Row = dict[str, Any]
Attach = Callable[..., None]


@dataclass(frozen=True)
class Block:
    """A block of the guide, known by the heading it stands under and its place there."""

    title: str
    code: str
    line: int

    def run(self, uris: dict[str, str] | None = None, **names: Any) -> tuple[list[Any], Row]:
        """Runs it, and answers what its expression statements made and the names it leaves."""
        lines = [IMPORTS.get(line, line) for line in self.code.splitlines()]
        code = "\n".join(lines)
        for uri, path in (uris or {}).items():
            assert code.count(f'"{uri}"') == 1
            code = code.replace(f'"{uri}"', repr(path))
        tree = ast.parse(code)
        for statement in tree.body:
            if isinstance(statement, ast.Expr):
                keep = ast.Name("_keep", ast.Load())
                statement.value = ast.Call(keep, [statement.value], [])
        made: list[Any] = []
        space: Row = {**vocabulary(), **names, "_keep": made.append}
        code_object = compile(ast.fix_missing_locations(tree), f"{GUIDE.name}:{self.line}", "exec")
        exec(code_object, space)
        return made, space


def vocabulary() -> Row:
    """The names that the guide imports once, in its first block."""
    functions = {"kv_get": kv_get, "kv_batch_get": kv_batch_get, "kv_exists": kv_exists}
    return {"daft": keyloom, "load_kv": load_kv, **functions}


def guide_blocks(language: str) -> dict[str, Block]:
    """The guide's blocks of a language, in order."""
    blocks: dict[str, Block] = {}
    for found in re.finditer(rf"^( *)```{language}\n(.*?)^\1```$", TEXT, re.DOTALL | re.MULTILINE):
        before = TEXT[: found.start()]
        # a comment in code looks like a heading
        prose = re.sub(r"^( *)```\w*\n.*?^\1```$", "", before, flags=re.DOTALL | re.MULTILINE)
        heading = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)[-1]
        place = sum(title.startswith(f"{heading}, ") for title in blocks) + 1
        title = f"{heading}, {place}"
        blocks[title] = Block(title, textwrap.dedent(found[2]), before.count("\n") + 2)
    return blocks


BLOCKS = guide_blocks("python")
ERRORS = re.findall(r"^ +```\n +(\w+): (.+)\n +```$", TEXT, re.MULTILINE)
CASES: list[str] = []


def case(title: str) -> pytest.MarkDecorator:
    """Hands a block to a test."""
    CASES.append(title)
    return pytest.mark.parametrize("block", [pytest.param(BLOCKS[title], id=title)])


def by_key(column: str, rows: dict[str, Row]) -> pa.Table:
    """Rows under their keys as a table, in another order than they are asked for."""
    return pa.Table.from_pylist([{column: key, **rows[key]} for key in sorted(rows, reverse=True)])


def found(column: str, rows: dict[str, Row], *keys: str | None) -> list[Row | None]:
    """What a lookup of all columns answers; null for a key that is not there."""
    return [{column: key, **rows[key]} if key in rows else None for key in keys]


VECTORS: dict[str, Row] = {
    "item_1": {"vector": [0.5, 1.0]},
    "item_2": {"vector": [1.5, 2.0]},
    "item_3": {"vector": [2.5, 3.0]},
}
METADATA: dict[str, Row] = {
    "item_1": {"name": "lamp", "category": "light", "price": 10},
    "item_2": {"name": "desk", "category": "wood", "price": 20},
    "item_3": {"name": "mug", "category": None, "price": 30},
}
ITEMS = ["item_1", "item_2", "item_3"]
LISTS = [["item_3", "item_1"], [], None, ["item_2", None, "item_2"]]


@pytest.fixture
def attach(session: keyloom.Session, lance: Callable[..., str]) -> Attach:
    """Attaches rows under an alias, as a Lance store without a key."""

    def attach_rows(alias: str, column: str, rows: dict[str, Row]) -> None:
        uri = lance(alias, by_key(column, rows), rows_per_file=2)
        session.attach(load_kv("lance", name=f"{alias}_of_the_guide", uri=uri), alias)

    return attach_rows


@pytest.fixture
def stores(lance: Callable[..., str]) -> Row:
    """The two stores that the guide's first block makes."""
    embeddings = lance("embeddings", by_key("item_id", VECTORS), rows_per_file=2)
    metadata = lance("metadata", by_key("item_id", METADATA), rows_per_file=2)
    return {
        "embeddings_kv": load_kv("lance", name="embeddings", uri=embeddings),
        "metadata_kv": load_kv("lance", name="metadata", uri=metadata),
    }


# Basic Usage.


@case("Setting Up Multiple KV Stores, 1")
def test_setting_up_stores(
    block: Block, session: keyloom.Session, lance: Callable[..., str]
) -> None:
    uris = {
        "s3://bucket/embeddings": lance("embeddings", by_key("item_id", VECTORS), rows_per_file=2),
        "s3://bucket/metadata": lance("metadata", by_key("item_id", METADATA), rows_per_file=2),
    }
    _, names = block.run(uris)
    assert names["daft"] is keyloom
    assert session.list_kv() == ["feature_store", "lance_embeddings", "lance_metadata"]
    current = session.current_kv()
    assert current is not None
    assert (current.alias, current.name) == ("lance_embeddings", "embeddings")
    assert session.get_kv("lance_metadata").name == "metadata"
    assert session.get_kv("feature_store").name == "features"
    assert session.get_kv("feature_store").schema.names == ["key", "value"]

    df = keyloom.from_pydict({"item_id": ["item_1"]})
    df = df.with_column("vector", kv_get("item_id")["vector"])
    df = df.with_column("name", kv_get("item_id", source="lance_metadata")["name"])
    df = df.with_column("feature", kv_get("item_id", source="feature_store")["value"])
    assert df.to_pydict() == {
        "item_id": ["item_1"],
        "vector": [[0.5, 1.0]],
        "name": ["lamp"],
        "feature": ["feature_data"],
    }


@case("Using the Source Parameter, 1")
def test_the_source_parameter(block: Block, session: keyloom.Session, attach: Attach) -> None:
    attach("lance_embeddings", "item_id", VECTORS)
    attach("lance_metadata", "item_id", METADATA)
    features = {item: f"features of {item}" for item in ITEMS}
    session.attach(load_kv("memory", name="features", initial_data=features), "feature_store")
    _, names = block.run()
    assert names["df"].to_pydict() == {"item_id": ITEMS}
    assert names["df_enriched"].to_pydict() == {
        "item_id": ITEMS,
        "embeddings": found("item_id", VECTORS, *ITEMS),
        "metadata": found("item_id", METADATA, *ITEMS),
        "features": [{"key": item, "value": f"features of {item}"} for item in ITEMS],
    }


def test_a_feature_that_the_guide_lacks_fails_when_it_is_asked_for(
    session: keyloom.Session, attach: Attach
) -> None:
    attach("lance_embeddings", "item_id", VECTORS)
    attach("lance_metadata", "item_id", METADATA)
    # as in the guide's first block: one item of three
    features = load_kv("memory", name="features", initial_data={"item_1": "feature_data"})
    session.attach(features, "feature_store")
    _, names = BLOCKS["Using the Source Parameter, 1"].run()
    with pytest.raises(keyloom.DaftError) as raised:
        names["df_enriched"].collect()
    message = "Key not found in KV store 'feature_store': item_2, item_3 (2 missing in one batch)"
    assert str(raised.value) == message


# API Reference.


def promised(block: Block) -> tuple[str, inspect.Signature]:
    """The name and the signature that a block shows: a call whose arguments have annotations."""
    (definition,) = ast.parse(f"def {block.code.strip()}: ...").body
    assert isinstance(definition, ast.FunctionDef)
    arguments = definition.args
    defaults = [inspect.Parameter.empty] * (len(arguments.args) - len(arguments.defaults))
    defaults += [ast.literal_eval(default) for default in arguments.defaults]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(argument.arg, kind, default=default)
        for argument, default in zip(arguments.args, defaults, strict=True)
    ]
    assert definition.returns is not None
    returns = ast.unparse(definition.returns)
    return definition.name, inspect.Signature(parameters, return_annotation=returns)


def without_types(signature: inspect.Signature, since: tuple[str, ...] = ()) -> inspect.Signature:
    """Without annotations, and without those at the end that the guide does not know yet."""
    parameters = list(signature.parameters.values())
    known = parameters[: len(parameters) - len(since)]
    assert tuple(parameter.name for parameter in parameters[len(known) :]) == since
    return signature.replace(
        parameters=[parameter.replace(annotation=inspect.Parameter.empty) for parameter in known]
    )


@case("kv_get(), 1")
def test_the_signature_of_kv_get(block: Block) -> None:
    own = without_types(inspect.signature(kv_get), since=("max_misses",))
    assert promised(block) == ("kv_get", own)


@case("kv_get(), 2")
def test_kv_get(block: Block, session: keyloom.Session, attach: Attach) -> None:
    attach("lance_embeddings", "item_id", VECTORS)
    attach("metadata_store", "item_id", METADATA)
    session.set_kv("lance_embeddings")
    df = keyloom.from_pydict({"item_id": ["item_3", "item_1"]})
    (default, specific, columns), _ = block.run(df=df)
    vectors = found("item_id", VECTORS, "item_3", "item_1")
    assert default.to_pydict() == {"item_id": ["item_3", "item_1"], "data": vectors}
    assert specific.to_pydict() == {"item_id": ["item_3", "item_1"], "embeddings": vectors}
    assert columns.to_pydict() == {
        "item_id": ["item_3", "item_1"],
        "metadata": [{"name": "mug", "category": None}, {"name": "lamp", "category": "light"}],
    }


def test_kv_get_of_a_missing_item_as_the_guide_writes_it(
    session: keyloom.Session, attach: Attach
) -> None:
    attach("lance_embeddings", "item_id", VECTORS)
    attach("metadata_store", "item_id", METADATA)
    session.set_kv("lance_embeddings")
    df = keyloom.from_pydict({"item_id": ["item_9", "item_2"]})
    (default, specific, columns), _ = BLOCKS["kv_get(), 2"].run(df=df)
    for frame in (default, specific):
        with pytest.raises(keyloom.NotFoundError) as raised:
            frame.collect()
        assert str(raised.value) == "Key not found in KV store 'lance_embeddings': item_9"
    assert columns.to_pydict() == {
        "item_id": ["item_9", "item_2"],
        "metadata": [None, {"name": "desk", "category": "wood"}],
    }


@case("kv_batch_get(), 1")
def test_the_signature_of_kv_batch_get(block: Block) -> None:
    own = without_types(inspect.signature(kv_batch_get), since=("max_misses",))
    assert promised(block) == ("kv_batch_get", own)


@case("kv_batch_get(), 2")
def test_kv_batch_get(block: Block, session: keyloom.Session, attach: Attach) -> None:
    attach("lance_embeddings", "item_ids", VECTORS)
    session.set_kv("lance_embeddings")
    df = keyloom.from_pydict({"item_ids": LISTS})
    (default, specific), _ = block.run(df=df)
    expected = [
        found("item_ids", VECTORS, "item_3", "item_1"),
        [],
        None,
        found("item_ids", VECTORS, "item_2", None, "item_2"),
    ]
    assert default.to_pydict() == {"item_ids": LISTS, "batch_data": expected}
    assert specific.to_pydict() == {"item_ids": LISTS, "embeddings": expected}


@case("kv_exists(), 1")
def test_the_signature_of_kv_exists(block: Block) -> None:
    assert promised(block) == ("kv_exists", without_types(inspect.signature(kv_exists)))


@case("kv_exists(), 2")
def test_kv_exists(block: Block, session: keyloom.Session, attach: Attach) -> None:
    attach("lance_embeddings", "item_id", VECTORS)
    session.set_kv("lance_embeddings")
    df = keyloom.from_pydict({"item_id": ["item_9", None, "item_2"]})
    (default, specific), _ = block.run(df=df)
    there = {"item_id": ["item_9", None, "item_2"]}
    assert default.to_pydict() == {**there, "exists": [False, None, True]}
    assert specific.to_pydict() == {**there, "has_embeddings": [False, None, True]}


# Advanced Usage Patterns.


@case("Multi-Modal Data Processing, 1")
def test_multi_modal_data(block: Block, session: keyloom.Session, attach: Attach) -> None:
    users, products = ["user_001", "user_002"], ["prod_101", "prod_102"]
    user_vectors: dict[str, Row] = {
        "user_001": {"vector": [1.0, 0.0]},
        "user_002": {"vector": [0.0, 1.0]},
    }
    profiles: dict[str, Row] = {
        "user_001": {"name": "ann", "tags": ["new", "eu"]},
        "user_002": {"name": "bob", "tags": []},
    }
    behavior: dict[str, Row] = {"user_001": {"clicks": 7}, "user_002": {"clicks": None}}
    product_vectors: dict[str, Row] = {
        "prod_101": {"vector": [3.0, 4.0]},
        "prod_102": {"vector": [5.0, 6.0]},
    }
    catalog: dict[str, Row] = {
        "prod_101": {"name": "lamp", "category": "light"},
        "prod_102": {"name": "desk", "category": "wood"},
    }
    attach("user_embeddings", "user_id", user_vectors)
    attach("user_metadata", "user_id", profiles)
    attach("behavioral_data", "user_id", behavior)
    attach("product_embeddings", "product_id", product_vectors)
    attach("product_catalog", "product_id", catalog)
    session.attach(load_kv("memory", name="inventory", initial_data={"prod_102": 12}))

    _, names = block.run()
    assert names["df_enriched"].to_pydict() == {
        "user_id": users,
        "product_id": products,
        "user_embeddings": found("user_id", user_vectors, *users),
        "user_profile": found("user_id", profiles, *users),
        "user_behavior": found("user_id", behavior, *users),
        "product_embeddings": found("product_id", product_vectors, *products),
        "product_info": found("product_id", catalog, *products),
        "user_has_behavior": [True, True],
        "product_available": [False, True],
    }


@case("Conditional Data Access, 1")
def test_conditional_access(block: Block, attach: Attach) -> None:
    items = ["user_001", "product_101", "user_002"]
    # no store knows the others' items, and a missing key raises: only what is needed is looked up
    user_vectors: dict[str, Row] = {
        "user_001": {"vector": [1.0, 0.0]},
        "user_002": {"vector": [0.0, 1.0]},
    }
    product_vectors: dict[str, Row] = {"product_101": {"vector": [3.0, 4.0]}}
    profiles: dict[str, Row] = {
        "user_001": {"name": "ann", "category": "admin"},
        "user_002": {"name": "bob", "category": "guest"},
    }
    catalog: dict[str, Row] = {"product_101": {"name": "lamp", "category": "light"}}
    attach("user_embeddings", "item_id", user_vectors)
    attach("product_embeddings", "item_id", product_vectors)
    attach("user_profiles", "item_id", profiles)
    attach("product_catalog", "item_id", catalog)

    _, names = block.run()
    assert names["df_conditional"].to_pydict() == {
        "item_id": items,
        "item_type": ["user", "product", "user"],
        "embeddings": found("item_id", {**user_vectors, **product_vectors}, *items),
        "metadata": found("item_id", {**profiles, **catalog}, *items),
    }


@case("Error Handling and Fallbacks, 1")
def test_fallbacks(block: Block, attach: Attach) -> None:
    items = ["item_1", "item_2", "missing_item"]
    primary: dict[str, Row] = {"item_1": {"name": "lamp", "category": "primary"}}
    secondary: dict[str, Row] = {
        "item_1": {"name": "old lamp", "category": "secondary"},
        "item_2": {"name": "desk", "category": "secondary"},
    }
    attach("primary_store", "item_id", primary)
    attach("secondary_store", "item_id", secondary)

    _, names = block.run()
    # `df["primary_data"]` names a column that df itself does not have
    assert names["df"].column_names == ["item_id"]
    assert names["df_with_fallback"].to_pydict() == {
        "item_id": items,
        "primary_data": found("item_id", primary, *items),
        "secondary_data": found("item_id", secondary, *items),
        "final_data": [
            {"item_id": "item_1", "name": "lamp", "category": "primary"},
            {"item_id": "item_2", "name": "desk", "category": "secondary"},
            None,
        ],
    }


# Best Practices.


@case("1. Descriptive Alias Names, 1")
def test_alias_names(block: Block, session: keyloom.Session, stores: Row) -> None:
    (good_1, good_2, bad_1, bad_2), _ = block.run(**stores)
    assert [kv.alias for kv in (good_1, good_2)] == ["user_embeddings_v2", "product_catalog_latest"]
    assert [kv.alias for kv in (bad_1, bad_2)] == ["kv1", "store2"]
    names = [kv.name for kv in (good_1, good_2, bad_1, bad_2)]
    assert names == ["embeddings", "metadata", "embeddings", "metadata"]
    assert session.list_kv() == ["kv1", "product_catalog_latest", "store2", "user_embeddings_v2"]
    df = keyloom.from_pydict({"item_id": ["item_2"]}).select(
        kv_get("item_id", source="user_embeddings_v2")["vector"].alias("a"),
        kv_get("item_id", source="kv1")["vector"].alias("b"),
        kv_get("item_id", source="product_catalog_latest")["name"].alias("c"),
        kv_get("item_id", source="store2")["name"].alias("d"),
    )
    assert df.to_pydict() == {"a": [[1.5, 2.0]], "b": [[1.5, 2.0]], "c": ["desk"], "d": ["desk"]}


@case("2. Error Handling Strategy, 1")
def test_error_handling(block: Block, attach: Attach) -> None:
    attach("critical_store", "item_id", METADATA)
    attach("optional_store", "item_id", METADATA)
    _, names = block.run()
    there = keyloom.from_pydict({"item_id": ["item_2"]})
    missing = keyloom.from_pydict({"item_id": ["item_2", "item_9"]})
    desk = found("item_id", METADATA, "item_2")
    assert there.select(names["critical_data"].alias("data")).to_pydict() == {"data": desk}
    assert missing.select(names["optional_data"].alias("data")).to_pydict() == {
        "data": [*desk, None]
    }
    with pytest.raises(keyloom.NotFoundError) as raised:
        missing.select(names["critical_data"].alias("data")).collect()
    assert str(raised.value) == "Key not found in KV store 'critical_store': item_9"


@case("3. Performance Optimization, 1")
def test_batches_and_single_items(block: Block, session: keyloom.Session) -> None:
    vectors = {item: VECTORS[item]["vector"] for item in ITEMS}
    session.attach(load_kv("memory", name="embeddings", initial_data=vectors))
    df = keyloom.from_pydict({"item_id": ["item_2"], "item_ids": [["item_3", "item_2"]]})
    (batches, single), _ = block.run(df=df)
    there = {"item_id": ["item_2"], "item_ids": [["item_3", "item_2"]]}
    two, three = {"key": "item_2", "value": [1.5, 2.0]}, {"key": "item_3", "value": [2.5, 3.0]}
    assert batches.to_pydict() == {**there, "batch_embeddings": [[three, two]]}
    assert single.to_pydict() == {**there, "single_embeddings": [two]}


@case("4. Resource Management, 1")
def test_resource_management(block: Block, session: keyloom.Session, attach: Attach) -> None:
    attach("temporary_store", "item_id", METADATA)
    attach("other_store", "item_id", METADATA)
    session.set_kv("other_store")
    block.run()
    assert session.list_kv() == ["other_store"]
    assert session.current_kv() is None


# Migration Guide.


@case("From Single KV Store, 1")
def test_migration_from_a_single_store(
    block: Block, session: keyloom.Session, attach: Attach
) -> None:
    attach("my_store", "item_id", METADATA)
    df = keyloom.from_pydict({"item_id": ITEMS})
    (_, old, new, explicit), _ = block.run(df=df)
    expected = {"item_id": ITEMS, "data": found("item_id", METADATA, *ITEMS)}
    for frame in (old, new, explicit):
        assert frame.to_pydict() == expected
    current = session.current_kv()
    assert current is not None
    assert current.alias == "my_store"


@case("Adding Multiple Sources, 1")
def test_adding_sources(block: Block, session: keyloom.Session, attach: Attach) -> None:
    attach("my_store", "item_id", METADATA)
    session.set_kv("my_store")
    added = load_kv("memory", name="added", initial_data={item: {"stock": 4} for item in ITEMS})
    _, names = block.run(df=keyloom.from_pydict({"item_id": ITEMS}), new_kv_store=added)
    assert names["df"].to_pydict() == {
        "item_id": ITEMS,
        "existing_data": found("item_id", METADATA, *ITEMS),
        "new_data": [{"key": item, "stock": 4} for item in ITEMS],
    }


# Troubleshooting.


@case("Common Errors, 1")
def test_the_first_solution(block: Block, session: keyloom.Session, stores: Row) -> None:
    (attached,), _ = block.run(my_kv=stores["metadata_kv"])
    assert (attached.alias, attached.name) == ("my_store", "metadata")
    df = keyloom.from_pydict({"item_id": ["item_2"]})
    found_in = df.select(kv_get("item_id", "name", source="my_store"))
    assert found_in.to_pydict() == {"my_store": [{"name": "desk"}]}


@case("Common Errors, 2")
def test_the_second_solution(block: Block, session: keyloom.Session, attach: Attach) -> None:
    attach("my_store", "item_id", METADATA)
    (_, with_source), _ = block.run()
    current = session.current_kv()
    assert current is not None
    assert current.alias == "my_store"
    df = keyloom.from_pydict({"item_id": ["item_2"]})
    answered = df.select(kv_get("item_id").alias("current"), with_source.alias("source"))
    desk = found("item_id", METADATA, "item_2")
    assert answered.to_pydict() == {"current": desk, "source": desk}


@case("Common Errors, 3")
def test_the_third_solution(block: Block, attach: Attach) -> None:
    attach("my_store", "item_id", METADATA)
    (graceful,), _ = block.run()
    df = keyloom.from_pydict({"item_id": ["item_9", "item_3"]}).select(graceful)
    assert df.to_pydict() == {"my_store": found("item_id", METADATA, "item_9", "item_3")}


@case("Debug Tips, 1")
def test_whether_a_store_is_attached(
    block: Block, attach: Attach, capsys: pytest.CaptureFixture[str]
) -> None:
    block.run()
    attach("my_store", "item_id", METADATA)
    block.run()
    assert capsys.readouterr().out == "False\nTrue\n"


@case("Debug Tips, 2")
def test_which_store_is_current(
    block: Block, session: keyloom.Session, stores: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    block.run()
    session.attach(stores["metadata_kv"], "my_store")
    session.set_kv("my_store")
    block.run()
    assert capsys.readouterr().out == "No current KV set\nmetadata\n"


@case("Debug Tips, 3")
def test_whether_data_exist(block: Block, attach: Attach) -> None:
    attach("my_store", "item_id", METADATA)
    df = keyloom.from_pydict({"item_id": ["item_1", "item_9"]})
    (frame,), _ = block.run(df=df)
    assert frame.to_pydict() == {"item_id": ["item_1", "item_9"], "exists": [True, False]}


def error_of(text: tuple[str, str]) -> tuple[type[Exception], str]:
    """The class that the guide's text names, and the message."""
    name, message = text
    return getattr(keyloom, name, None) or getattr(builtins, name), message


def test_the_guide_has_three_errors() -> None:
    assert ERRORS == [
        ("ValueError", "KV store 'my_store' not found in session"),
        ("ValueError", "No KV store is currently attached to the session"),
        ("DaftError", "Key not found in KV store"),
    ]


def test_the_error_of_a_store_that_is_not_attached(session: keyloom.Session) -> None:
    error, message = error_of(ERRORS[0])
    with pytest.raises(error) as raised:
        kv_get("item_id", source="my_store")
    assert str(raised.value).startswith(message)


def test_the_error_without_a_current_store(session: keyloom.Session, attach: Attach) -> None:
    attach("my_store", "item_id", METADATA)
    error, message = error_of(ERRORS[1])
    with pytest.raises(error) as raised:
        kv_get("item_id")
    assert str(raised.value).startswith(message)


def test_the_error_of_a_missing_key(session: keyloom.Session, attach: Attach) -> None:
    attach("my_store", "item_id", METADATA)
    error, message = error_of(ERRORS[2])
    df = keyloom.from_pydict({"item_id": ["item_9"]})
    df = df.with_column("data", kv_get("item_id", source="my_store"))
    with pytest.raises(error) as raised:
        df.collect()
    assert str(raised.value).startswith(message)


def test_every_block_of_the_guide_has_a_test() -> None:
    assert len(BLOCKS) == 23
    assert TEXT.count("```python\n") == 23
    assert TEXT.count("```\n") == 23 + 2 * len(ERRORS)
    assert list(BLOCKS) == CASES
