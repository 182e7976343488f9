"""The folder of a sweep: nothing is lost, nothing half written, and what is there is found again."""

import json
import math
import os
import threading
import warnings
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlicl.core.lock import Lock
from nlicl.experiments.sweeps import store as stores
from nlicl.experiments.sweeps.cell import Record, Work
from nlicl.experiments.sweeps.measures import measures_of
from nlicl.experiments.sweeps.store import Store, is_store
from nlicl.experiments.sweeps.table import Table
from nlicl.papers import huang2023, li2024
from nlicl.training import Adam

SMALL = li2024.Problem(m=8, batch=16, steps=20, length=8)
WORK = Work(SMALL, {}, measures_of("hinge_unseen"))


def record(number, state="done", **values):
    return Record(f"{number:032x}", {"alpha": 0.5}, number, state, "", 20, values or {"hinge_unseen": 0.25})


numbers = st.floats(allow_nan=False)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False)
)


@given(
    st.dictionaries(st.text(min_size=1), st.one_of(plain, st.tuples(plain, plain))),
    st.integers(0, 10**30),
    st.text(),
    st.dictionaries(st.text(min_size=1), numbers),
)
def test_a_line_is_read_as_it_was_written(over, seed, reason, values):
    there = Record("0" * 32, over, seed, "done", reason, 3, values)
    line = stores._line(there)
    assert line.endswith("\n") and line.isascii() and len(line.splitlines()) == 1
    assert stores._parsed(line)[1] == there


def test_what_has_no_number_is_kept(tmp_path):
    store = Store.opened(tmp_path, WORK, ["alpha"])
    store.add([record(0, hinge_unseen=math.inf), record(1, "diverged", hinge_unseen=math.nan)])
    first, second = sorted(store.records().values(), key=lambda each: each.seed)
    assert first.values["hinge_unseen"] == math.inf and math.isnan(second.values["hinge_unseen"])


def test_a_store_goes_on_where_it_ended(tmp_path):
    folder = tmp_path / "a" / "b"
    store = Store.opened(folder, WORK, ["alpha"])
    store.add([record(0), record(1)])
    store.add([record(2, "failed"), record(3, "diverged"), record(4, "lost"), record(5, "refused")])
    store.add([])
    again = Store.opened(folder, WORK, ["alpha"])
    assert again.done == {record(i).key for i in (0, 1, 3, 5)}  # what failed, or was lost, is done again
    assert len(again.records()) == 6
    again.add([record(2)])
    assert again.records()[record(2).key].state == "done"
    assert sorted(os.listdir(folder)) == ["records", "sweep.json"] and is_store(folder)
    assert len(os.listdir(folder / "records")) == 3


def test_two_that_are_open_see_what_the_other_writes(tmp_path):
    one, other = (Store.opened(tmp_path, WORK, ["alpha"]) for _ in range(2))
    one.add([record(0)])
    assert not other.done
    other.look()
    assert other.done == {record(0).key}
    assert (one.turn(), other.turn()) == (0, 1)
    one.close()
    assert Store.opened(tmp_path, WORK, ["alpha"]).turn() == 0
    other.close()


@pytest.mark.parametrize(
    ("work", "names", "said"),
    [
        (Work(replace(SMALL, length=9), {}, WORK.measures), ["alpha"], "length is 8 there and 9 here"),
        (Work(replace(SMALL, alpha=0.3), {}, WORK.measures), ["beta"], "alpha is not given there and 0.3 here"),
        (Work(SMALL, {"steps": 5}, WORK.measures), ["alpha"], "steps is not given there and 5 here|steps is 20"),
        (Work(SMALL, {"optimizer": Adam()}, WORK.measures), ["alpha"], "optimizer is not given there"),
        (Work(SMALL, {}, measures_of("hinge_ood")), ["alpha"], "the measure hinge_unseen"),
        (
            Work(huang2023.Problem(), {}, WORK.measures),
            ["K"],
            "the problem is 'nlicl.papers.li2024.problem.Problem' there",
        ),
    ],
)
def test_the_store_of_another_sweep_is_refused_and_stays(tmp_path, work, names, said):
    Store.opened(tmp_path, WORK, ["alpha"])
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(ValueError, match=f"the store of another sweep: ({said}).* Choose another folder"):
        Store.opened(tmp_path, work, names)
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_a_store_grows_by_values_and_by_names(tmp_path):
    Store.opened(tmp_path, WORK, ["alpha"])
    grown = Store.opened(tmp_path, Work(replace(SMALL, beta=7.0, alpha=0.1), {}, WORK.measures), ["beta", "alpha"])
    assert grown.about["over"] == ["alpha", "beta"]
    assert grown.usual("beta") == 2.0 and grown.usual("alpha") == 0.8 and grown.usual("dtype") is None
    assert grown.usual("training_tasks") == SMALL.training_tasks


def test_damage_is_told_and_its_cells_are_run_again(tmp_path):
    store = Store.opened(tmp_path, WORK, ["alpha"])
    store.add([record(0), record(1)])
    (path,) = (tmp_path / "records").iterdir()
    lines = path.read_text().splitlines()
    for damage in ("", lines[1][:40], "[]", "3", '{"key": 1}', lines[1].replace('"key": "', '"key": "x'), "\xff"):
        path.write_text(f"{lines[0]}\n{damage}\n", encoding="latin-1")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert Store.opened(tmp_path, WORK, ["alpha"]).done == {record(0).key}
        assert len(told) == 1 and "holds 1 damaged lines" in str(told[0].message)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "\xff", '{"format": 1, "over": [3]}'])
def test_a_damaged_sweep_json_is_refused(tmp_path, text):
    Store.opened(tmp_path, WORK, ["alpha"])
    (tmp_path / "sweep.json").write_text(text, encoding="latin-1")
    for opened in (lambda: Store.opened(tmp_path, WORK, ["alpha"]), lambda: Store.shown(tmp_path)):
        with pytest.raises(ValueError, match=r"sweep.json is damaged.* Choose another folder"):
            opened()


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no sweep: there is no sweep.json"):
        Store.shown(tmp_path)


def test_records_of_another_version_are_kept_and_not_shown(tmp_path, monkeypatch):
    Store.opened(tmp_path, WORK, ["alpha"]).add([record(0)])
    for module in ("store", "cell"):
        monkeypatch.setattr(f"nlicl.experiments.sweeps.{module}.__version__", "99")
    newer = Store.opened(tmp_path, WORK, ["alpha"])
    assert not newer.done and not newer.records()
    newer.add([record(0)])
    assert len(os.listdir(tmp_path / "records")) == 2 and len(Store.shown(tmp_path).records()) == 1


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path):
    Store.opened(tmp_path, WORK, ["alpha"])
    old, new, mine = (
        tmp_path / "records" / name
        for name in (".0123456789abcdef.jsonl.abcdefgh", ".0123456789abcdef.jsonl.abcdefgi", ".mine")
    )
    for path in (old, new, mine):
        path.write_text("half")
    os.utime(old, (0, 0))
    os.utime(mine, (0, 0))
    Store.opened(tmp_path, WORK, ["alpha"])
    assert not old.exists() and new.exists() and mine.exists()


def test_who_opens_waits_for_who_writes(tmp_path, monkeypatch):
    Store.opened(tmp_path, WORK, ["alpha"])
    lock = Lock(tmp_path / ".sweep.lock")
    assert lock.take() is None
    timer = threading.Timer(0.2, lock.release)
    timer.start()
    Store.opened(tmp_path, WORK, ["alpha"])
    timer.join()
    assert lock.take() is None
    monkeypatch.setattr(stores, "_PATIENCE", 0.05)
    with pytest.raises(ValueError, match="is held by this process"):
        Store.opened(tmp_path, WORK, ["alpha"])
    lock.release()


# ---- The table


def rows():
    for alpha in (1.0, 0.5):
        for seed in (1, 0):
            value = math.inf if (alpha, seed) == (0.5, 0) else 10 * alpha + seed
            yield Record(f"{seed}", {"alpha": alpha, "task": (0, 1)}, seed, "done", "", 20, {"T": value})
    yield Record("x", {"alpha": 0.5, "task": "x"}, 0, "diverged", 'a "reason",\nof two lines', 3, {"T": math.nan})


def test_a_table_is_in_order_whatever_came_first(tmp_path):
    tables = [Table(["alpha", "task"], ["T"], order) for order in (list(rows()), list(rows())[::-1])]
    for number, table in enumerate(tables):
        table.to_csv(tmp_path / f"{number}.csv")
    text = (tmp_path / "0.csv").read_text()
    assert text == (tmp_path / "1.csv").read_text()
    assert text.splitlines()[0] == "alpha,task,seed,T,steps,state,reason" and '0.5,"(0, 1)",0,inf,20,done,' in text
    assert [each.seed for each in tables[0]] == [0, 0, 1, 0, 1] and tables[0]["alpha"].tolist() == [
        0.5,
        0.5,
        0.5,
        1.0,
        1.0,
    ]


def test_what_seeds_say_together():
    table = Table(["alpha", "task"], ["T"], rows())
    other, half, one = table.settings
    assert half.median("T") == math.inf and one.median("T") == 10.5 and math.isnan(other.median("T"))
    assert other.states == {"diverged": 1} and not table.ok and len(table.lacking) == 1 and table[1:].ok
    text = str(table)
    assert "not reached (6 to not reached)" in text and "10.5 (10 to 11)" in text and "1 diverged" in text
    assert "and 2 more settings" in "\n".join(table.lines(1))
    assert json.dumps(table.to_dict(), allow_nan=False)
    with pytest.raises(KeyError, match="'x' is no column; expected one of 'alpha', 'task', 'seed', 'T'"):
        table["x"]


def test_pandas_and_parquet_have_the_same(tmp_path):
    pandas = pytest.importorskip("pandas")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = Table(["alpha", "task"], ["T"], rows())
    table.to_csv(tmp_path / "t.csv")
    table.to_parquet(tmp_path / "t.parquet")
    there = pandas.read_csv(tmp_path / "t.csv")
    assert there["T"].tolist()[1:3] == [math.inf, 6.0]
    found = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert list(found) == list(there.columns) and found["task"] == there["task"].tolist()
    assert found["seed"] == table.to_pandas()["seed"].tolist() == there["seed"].tolist()
