"""What a folder tells apart: measures with other arguments, fields that follow, other defaults; and mixed columns."""

import json
import math
from dataclasses import dataclass, make_dataclass
from functools import partial

import pytest

import nlicl
from nlicl.experiments.sweeps.cell import Cell, Record, Work
from nlicl.experiments.sweeps.grid import grid_of
from nlicl.experiments.sweeps.measures import ByFunction, measures_of
from nlicl.experiments.sweeps.store import Store
from nlicl.experiments.sweeps.table import Table
from nlicl.papers import li2024

SIZES = {"m": 8, "batch": 16, "steps": 5, "length": 8, "M2": 12}
RING_OF_6 = li2024.Problem().training_tasks


def late(run, by=1):
    return run.history.loss[-by]


@dataclass(frozen=True)
class Late:
    by: int

    def __call__(self, run):
        return late(run, self.by)


def key(problem, changes, measure="training_loss", training=None):
    return Work(problem, training or {}, measures_of(measure)).key(Cell(tuple(changes.items()), 0))


@pytest.mark.parametrize("kind", [lambda by: partial(late, by=by), Late])
def test_functions_with_other_arguments_are_other_measures(tmp_path, kind):
    problem = li2024.Problem(**SIZES)
    arguments = {"seeds": 1, "training": {"measure": None}, "out": tmp_path}
    one = nlicl.sweep(problem, {"beta": [1.0]}, measure={"late": kind(1)}, **arguments)
    assert one["late"][0] == nlicl.sweep(problem, {"beta": [1.0]}, measure={"late": kind(1)}, **arguments)["late"][0]
    with pytest.raises(ValueError, match="another sweep: the measure late"):
        nlicl.sweep(problem, {"beta": [1.0]}, measure={"late": kind(2)}, **arguments)


def test_a_function_that_holds_what_no_file_does_is_not_told():
    assert (
        ByFunction("late", partial(late, by=2)).is_told and not ByFunction("late", partial(late, by=object())).is_told
    )


def test_a_field_that_follows_is_told_from_one_that_is_given():
    small, of_8 = li2024.Problem(**SIZES), li2024.Problem(M1=8, **SIZES)
    assert key(small, {"M1": 8}) != key(small, {"M1": 8, "training_tasks": RING_OF_6})
    assert key(small, {"M1": 8}) == key(of_8, {}) == key(small, {"M1": 8, "training_tasks": of_8.training_tasks})
    assert key(small, {"beta": -1.0}) != key(small, {})  # which is refused


def test_what_follows_is_made_anew_and_what_is_given_stays():
    def tasks(problem, **changes):
        return Work(problem, {}, ()).split(tuple(changes.items()))[0].training_tasks

    given = li2024.Problem(M1=8, training_tasks=RING_OF_6, **SIZES)
    assert tasks(given, beta=1.0) == RING_OF_6
    assert tasks(li2024.Problem(M1=8, **SIZES), M1=10) == li2024.Problem(M1=10, **SIZES).training_tasks


def test_one_number_is_one_setting():
    small, measure = li2024.Problem(**SIZES), "steps until training_loss < eps"
    for name, bounds in (("weight_decay", ()), ("eps", ("eps",)), ("alpha", ())):
        one, other = (grid_of(small, {name: [value]}, 1, bounds)[0].changes for value in (1, 1.0))
        assert repr(one) == repr(other)
        assert key(small, dict(one), measure) == key(small, dict(other), measure)
    with pytest.raises(ValueError, match=r"eps.*at most 1e300"):
        grid_of(small, {"eps": [10**400]}, 1, ("eps",))


def test_never_measured_is_no_usual_way_of_measuring():
    assert key(li2024.Problem(**SIZES), {}, late, {"measure": None}) != key(li2024.Problem(**SIZES), {}, late)


def test_a_folder_of_other_defaults_is_refused(tmp_path):
    def work(usual):
        kind = make_dataclass("Mine", [("alpha", float, usual), ("beta", float, 1.0)])
        return Work(kind(), {}, measures_of("training_loss"))

    Store.opened(tmp_path, work(0.5), ["alpha"])
    Store.opened(tmp_path, work(0.5), ["alpha"])
    with pytest.raises(ValueError, match=r"another sweep: the default of alpha is 0.5 there and 0.6 here"):
        Store.opened(tmp_path, work(0.6), ["alpha"])


@pytest.mark.parametrize(
    "values", [("fresh", 64), (None, 16), (True, 2), (1, 2.5), (2**70, 3), ((0, 1), "a"), (0.5, math.inf)]
)
def test_columns_of_several_types_can_be_written(tmp_path, values):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = Table(["x"], ["y"], [Record("0" * 32, {"x": x}, 2**70, "done", "", 1, {"y": 1.0}) for x in values])
    table.to_parquet(tmp_path / "table.parquet")
    read = parquet.read_table(tmp_path / "table.parquet").to_pydict()
    assert sorted(map(str, read["x"])) in (sorted(map(str, values)), ["1.0", "2.5"])
    assert read["seed"] == [str(2**70)] * 2


@pytest.mark.parametrize(
    ("over", "measure", "said"),
    [
        ("alpha", {"alpha": "training_loss"}, "'alpha' is swept over, and it is another column"),
        ("seed", "steps until training_loss < seed", "'seed' is swept over, and it is another column"),
        ("alpha", "steps until training_loss over 6 < 0.1", "a mean over at most 5"),
        ("alpha", "steps until training_loss < nan", "a number to compare with"),
    ],
)
def test_columns_that_would_be_two_and_values_that_never_come_are_refused(over, measure, said):
    with pytest.raises(ValueError, match=said):
        nlicl.sweep(li2024.Problem(**SIZES), {over: [0.5]}, seeds=1, measure=measure)


def test_a_table_that_cannot_be_written_is_told(tmp_path):
    arguments = {"seeds": 1, "measure": "training_loss", "out": tmp_path}
    nlicl.sweep(li2024.Problem(**SIZES), {"alpha": [0.5]}, **arguments)
    (tmp_path / "table.csv").unlink()
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        nlicl.sweep(li2024.Problem(**SIZES), {"alpha": [0.5]}, **arguments)


def test_records_that_are_deleted_meanwhile_are_told(tmp_path):
    def delete(done, total, text):
        if done == 2:
            for path in (tmp_path / "records").iterdir():
                path.unlink()

    with pytest.raises(OSError, match="records are gone"):
        nlicl.sweep(
            li2024.Problem(**SIZES),
            {"alpha": [0.5, 1.0]},
            seeds=1,
            measure="training_loss",
            out=tmp_path,
            progress=delete,
        )


@pytest.mark.parametrize("change", [{"values": {}}, {"values": {"other": 1.0}}, {"steps": math.inf}])
def test_a_record_of_other_measures_is_damage(tmp_path, change):
    store = Store.opened(tmp_path, Work(li2024.Problem(**SIZES), {}, measures_of("training_loss")), ["alpha"])
    good = Record("0" * 32, {"alpha": 0.5}, 0, "done", "", 5, {"training_loss": 1.0})
    store.add([good])
    (path,) = (tmp_path / "records").iterdir()
    line = json.dumps({**json.loads(path.read_text()), "key": "1" * 32, **change})
    (tmp_path / "records" / "a.jsonl").write_text(line)
    with pytest.warns(RuntimeWarning, match="1 damaged"):
        assert list(Store.shown(tmp_path).records().values()) == [good]


def test_a_sweep_over_what_is_no_text_is_damage(tmp_path):
    Store.opened(tmp_path, Work(li2024.Problem(**SIZES), {}, measures_of("training_loss")), ["alpha"])
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "over": [1]}))
    with pytest.raises(ValueError, match="damaged, or of another nlicl"):
        Store.shown(tmp_path)
