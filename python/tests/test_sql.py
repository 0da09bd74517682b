"""SQL: which frames its names mean, and what it answers."""

import keyloom
import pytest
from keyloom import col
from keyloom.kv import load_kv

numbers = None
"""A global variable that tests put a frame into."""


@pytest.fixture
def ages():
    keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40}))


def test_names_mean_frames_of_the_callers_function():
    local = keyloom.from_pydict({"x": [1, 2, 3]})
    assert local.column_names == ["x"]
    assert keyloom.sql("SELECT x * 2 AS y FROM local WHERE x > 1").to_pydict() == {"y": [4, 6]}


def test_names_mean_global_frames(monkeypatch):
    monkeypatch.setitem(globals(), "numbers", keyloom.from_pydict({"x": [7]}))
    assert keyloom.sql("SELECT x FROM numbers").to_pydict() == {"x": [7]}


def test_local_frames_go_before_global_ones(monkeypatch):
    monkeypatch.setitem(globals(), "numbers", keyloom.from_pydict({"x": [7]}))

    def inner():
        numbers = keyloom.from_pydict({"x": [8]})
        return numbers, keyloom.sql("SELECT x FROM numbers")

    assert inner()[1].to_pydict() == {"x": [8]}


def test_a_parameter_is_a_frame_of_its_function():
    def double(frame):
        return keyloom.sql("SELECT x * 2 AS x FROM frame")

    assert double(double(keyloom.from_pydict({"x": [1]}))).to_pydict() == {"x": [4]}


def test_a_comprehension_sees_its_own_variables():
    frames = [keyloom.from_pydict({"x": [start]}) for start in range(3)]
    found = [keyloom.sql("SELECT x + 1 AS x FROM each").to_pydict() for each in frames]
    assert found == [{"x": [1]}, {"x": [2]}, {"x": [3]}]


def test_a_lambda_sees_what_it_encloses():
    enclosed = keyloom.from_pydict({"x": [5]})
    query = lambda: (enclosed, keyloom.sql("SELECT x FROM enclosed"))  # noqa: E731
    assert query()[1].to_pydict() == {"x": [5]}


def test_the_frames_of_whoever_calls_the_caller_are_not_seen():
    def inner():
        return keyloom.sql("SELECT x FROM outer_only")

    outer_only = keyloom.from_pydict({"x": [5]})
    assert outer_only.count_rows() == 1
    with pytest.raises(keyloom.InvalidError, match="outer_only"):
        inner()


def test_bindings_go_before_variables():
    frame = keyloom.from_pydict({"x": [1]})
    other = keyloom.from_pydict({"x": [2]})
    assert keyloom.sql("SELECT x FROM frame", frame=other).to_pydict() == {"x": [2]}
    assert keyloom.sql("SELECT x FROM frame").to_pydict() == {"x": [1]}
    assert frame.count_rows() == 1


def test_without_register_globals_bindings_alone_are_seen():
    frame = keyloom.from_pydict({"x": [1]})
    bound = keyloom.sql("SELECT x FROM t", register_globals=False, t=frame)
    assert bound.to_pydict() == {"x": [1]}
    with pytest.raises(keyloom.InvalidError, match="frame"):
        keyloom.sql("SELECT x FROM frame", register_globals=False)


def test_a_binding_that_is_no_frame_is_refused():
    with pytest.raises(keyloom.InvalidError, match="^'t' is a builtins.dict, not a frame of"):
        keyloom.sql("SELECT x FROM t", t={"x": [1]})


def test_a_variable_that_is_no_frame_is_no_table():
    frame = {"x": [1]}
    assert frame == {"x": [1]}
    with pytest.raises(keyloom.InvalidError, match="frame"):
        keyloom.sql("SELECT x FROM frame")


def test_frames_of_another_session_are_not_seen_and_not_bound():
    frame = keyloom.from_pydict({"x": [1]})
    with keyloom.Session():
        with pytest.raises(keyloom.InvalidError, match="frame"):
            keyloom.sql("SELECT x FROM frame")
        with pytest.raises(keyloom.InvalidError, match="two sessions"):
            keyloom.sql("SELECT x FROM t", t=frame)


def test_a_name_without_quotes_is_lower_case_and_one_with_quotes_as_written():
    Frame = keyloom.from_pydict({"X": [1]})
    assert keyloom.sql('SELECT "X" FROM "Frame"').to_pydict() == {"X": [1]}
    assert keyloom.sql('SELECT "X" FROM frame', frame=Frame).to_pydict() == {"X": [1]}
    with pytest.raises(keyloom.InvalidError):
        keyloom.sql("SELECT X FROM frame", frame=Frame)


def test_nothing_of_one_statement_is_left_for_the_next():
    assert keyloom.sql("SELECT x FROM t", t=keyloom.from_pydict({"x": [1]})).count_rows() == 1
    with pytest.raises(keyloom.InvalidError, match="'?t'?"):
        keyloom.sql("SELECT x FROM t")


def test_a_query_keeps_the_frame_that_its_name_meant():
    frame = keyloom.from_pydict({"x": [1]})
    query = keyloom.sql("SELECT x FROM frame")
    frame = keyloom.from_pydict({"x": [2]})
    assert query.to_pydict() == {"x": [1]}
    assert frame.to_pydict() == {"x": [2]}


def test_a_collected_frame_is_a_table_too():
    frame = keyloom.from_pydict({"x": [1, 2]}).collect()
    assert keyloom.sql("SELECT sum(x) AS s FROM frame").to_pydict() == {"s": [3]}
    assert len(frame) == 2


def test_two_frames_are_joined():
    left = keyloom.from_pydict({"k": [1, 2, 3], "v": ["a", "b", "c"]})
    right = keyloom.from_pydict({"k": [2, 3, 4], "w": [20, 30, 40]})
    df = keyloom.sql(
        "SELECT l.k, v, w FROM left_ l JOIN right_ r ON l.k = r.k ORDER BY l.k",
        left_=left,
        right_=right,
    )
    assert df.to_pydict() == {"k": [2, 3], "v": ["b", "c"], "w": [20, 30]}


def test_a_frame_of_sql_goes_on_as_any_other():
    frame = keyloom.from_pydict({"k": ["a", "b", "a"], "x": [1, 2, 3]})
    df = keyloom.sql("WITH big AS (SELECT * FROM frame WHERE x > 1) SELECT * FROM big")
    assert df.with_column("y", col("x") * 10).sort("x", desc=True).to_pydict() == {
        "k": ["a", "b"],
        "x": [3, 2],
        "y": [30, 20],
    }
    groups = keyloom.sql("SELECT k, sum(x) AS s FROM frame GROUP BY k ORDER BY k")
    assert groups.to_pydict() == {"k": ["a", "b"], "s": [4, 2]}
    assert frame.count_rows() == 3


def test_a_subquery_gives_the_value_of_its_one_row():
    asked = keyloom.from_pydict({"k": [1, 2]})
    known = keyloom.from_pydict({"k": [1, 3, 3], "z": [10, 30, 31]})
    one = keyloom.sql("SELECT k, (SELECT z FROM known WHERE z = 30) AS v FROM asked ORDER BY k")
    assert one.to_pydict() == {"k": [1, 2], "v": [30, 30]}
    own = keyloom.sql(
        "SELECT k, (SELECT z FROM known WHERE known.k = asked.k) AS v FROM asked ORDER BY k"
    )
    assert own.to_pydict() == {"k": [1, 2], "v": [10, None]}
    several = keyloom.sql("SELECT k, (SELECT z FROM known WHERE z > 10) AS v FROM asked")
    with pytest.raises(keyloom.InvalidError, match="the subquery of 'z' found several rows"):
        several.to_pydict()
    assert (asked.count_rows(), known.count_rows()) == (2, 3)


def test_values_need_no_frame():
    assert keyloom.sql("SELECT 1 AS one, 'a' AS s").to_pydict() == {"one": [1], "s": ["a"]}


# Lookups.


def test_lookups_take_their_options_by_name(ages):
    people = keyloom.from_pydict({"who": ["bob", "eve", None, "ann"]})
    df = keyloom.sql("""
        SELECT
            who,
            kv_get(who, source => 'ages', columns => ['value'], on_error => 'null') AS age,
            kv_exists(who, source => 'ages') AS known
        FROM people
        """)
    assert df.to_pydict() == {
        "who": ["bob", "eve", None, "ann"],
        "age": [{"value": 40}, None, None, {"value": 30}],
        "known": [True, False, None, True],
    }
    assert people.count_rows() == 4


def test_lookups_of_lists_and_of_the_current_store(ages):
    keyloom.set_kv("ages")
    teams = keyloom.from_pydict({"team": [["ann", "bob"], [], None, ["eve"]]})
    df = keyloom.sql(
        "SELECT kv_batch_get(team, columns => ['value'], on_error => 'null', batch_size => 1) AS m "
        "FROM teams"
    )
    assert df.to_pydict() == {"m": [[{"value": 30}, {"value": 40}], [], None, [None]]}
    assert teams.count_rows() == 4


def test_a_lookup_is_a_value_like_others(ages):
    people = keyloom.from_pydict({"who": ["bob", "ann", "bob"]})
    df = keyloom.sql(
        "SELECT kv_get(who, source => 'ages')['value'] AS age, count(*) AS n FROM people "
        "GROUP BY age ORDER BY age"
    )
    assert df.to_pydict() == {"age": [30, 40], "n": [1, 2]}
    assert people.count_rows() == 3


def test_a_lookup_of_sql_and_one_of_python_meet(ages):
    people = keyloom.from_pydict({"who": ["bob", "ann"]})
    df = keyloom.sql("SELECT who, kv_get(who, source => 'ages')['value'] AS age FROM people")
    both = df.with_column("again", keyloom.kv_get("who", source="ages")["value"])
    assert both.where(col("age") == col("again")).to_pydict() == {
        "who": ["bob", "ann"],
        "age": [40, 30],
        "again": [40, 30],
    }
    assert people.count_rows() == 2


# Errors.


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC x FROM frame", "(?i)selec"),
        ("", "."),
        ("SELECT nope FROM frame", "nope"),
        ("SELECT x FROM nope", "nope"),
        ("SELECT nope(x) FROM frame", "(?i)nope"),
        ("SELECT x + 'a' + y FROM frame", "y"),
        ("SELECT kv_get(x, source => 'ages', nope => 1) FROM frame", "nope"),
        ("SELECT kv_get(x, source => 'ages', on_error => 'nope') FROM frame", "nope"),
        ("SELECT kv_get(x, source => 'ages', columns => ['nope']) FROM frame", "nope"),
        ("SELECT 1; SELECT 2", "."),
        ("CREATE TABLE made (x INT)", "."),
        ("INSERT INTO frame VALUES (1)", "."),
        ("DROP TABLE frame", "."),
        ("COPY frame TO 'frame.csv'", "."),
    ],
)
def test_a_wrong_statement_is_the_users_mistake_and_is_named(
    ages, query, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    frame = keyloom.from_pydict({"x": ["ann"]})
    with pytest.raises(keyloom.InvalidError, match=said):
        keyloom.sql(query)
    assert frame.count_rows() == 1
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_not_there_is_not_found():
    frame = keyloom.from_pydict({"x": ["ann"]})
    with pytest.raises(keyloom.NotFoundError, match="KV store 'ages' not found in session"):
        keyloom.sql("SELECT kv_get(x, source => 'ages') FROM frame")
    with pytest.raises(keyloom.KeyloomError, match="No KV store is currently attached"):
        keyloom.sql("SELECT kv_get(x) FROM frame")
    assert frame.count_rows() == 1


def test_a_table_that_is_not_there_is_told_with_those_that_are():
    Upper = keyloom.from_pydict({"x": [1]})
    lower = keyloom.from_pydict({"x": [1]})
    assert lower.count_rows() == Upper.count_rows()
    with pytest.raises(
        keyloom.InvalidError, match="^there is no frame 'upper'; write \"Upper\" in"
    ):
        keyloom.sql("SELECT * FROM Upper")
    with pytest.raises(
        keyloom.InvalidError, match="^there is no frame 'nope'; there are: Upper, lower"
    ):
        keyloom.sql("SELECT * FROM nope")
    with (
        keyloom.Session(),
        pytest.raises(keyloom.InvalidError, match="^the frame 'lower' is of another session$"),
    ):
        keyloom.sql("SELECT * FROM lower")


def test_a_frame_that_is_sorted_keeps_its_order(session):
    keyloom.attach(load_kv("memory", name="tens", initial_data={n: n * 10 for n in range(6)}))
    frame = keyloom.from_pydict({"x": [3, 1, 2, 5, 4]}).sort("x", desc=True)
    assert frame.to_pydict() == {"x": [5, 4, 3, 2, 1]}
    assert keyloom.sql("SELECT x FROM frame WHERE x > 2").to_pydict() == {"x": [5, 4, 3]}
    assert keyloom.sql("SELECT x FROM frame LIMIT 2").to_pydict() == {"x": [5, 4]}
    tens = keyloom.sql("SELECT kv_get(x, source => 'tens').value AS ten FROM frame LIMIT 2")
    assert tens.to_pydict() == {"ten": [50, 40]}


@pytest.mark.parametrize("how", ["inner", "left"])
def test_a_sorted_join_is_asked_for_no_key_that_other_conditions_drop(how):
    keyloom.attach(load_kv("memory", name="tens", initial_data={n: n * 10 for n in range(6)}))
    left = keyloom.from_pydict({"x": [3, 1, 2, 9, 4]})
    right = keyloom.from_pydict({"k": [1, 2, 3, 4, 9], "w": [1, 2, 3, 4, 5]})
    frame = left.join(right, left_on="x", right_on="k", how=how).sort("x", desc=True)
    for key in ["x", "x + w - w"]:
        wanted = f"kv_get({key}, source => 'tens').value > 10 AND w < 5"
        assert keyloom.sql(f"SELECT x FROM frame WHERE {wanted}", frame=frame).to_pydict() == {
            "x": [4, 3, 2]
        }
