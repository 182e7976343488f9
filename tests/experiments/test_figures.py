"""Figures as data and as files; the paper's curves; Figure 2's claims hold on what is known and fail on what is wrong."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from of_nlicl import EXPECTED, SHOWN

from nlicl.core.errors import InvalidInput
from nlicl.core.files import to_json
from nlicl.experiments.claims import every, if_promised
from nlicl.experiments.experiment import no_runs
from nlicl.experiments.figure import Figure, Recipe
from nlicl.experiments.li2024.figures import training
from nlicl.experiments.li2024.figures.published import published
from nlicl.experiments.page import page
from nlicl.experiments.registry import figures as load
from nlicl.experiments.series import Series, compare, read_curves, spread
from nlicl.experiments.stored import figure_of
from nlicl.papers.provenance import MEANINGS

FIGURES = load("li2024")
FULL = {"quick": False, "start": "calibrated"}


def example(**changes):
    settings = {"M1": [6, "summary"], "K": [float("nan"), "recalled"], "tasks": [((0, 1),), "set here"]}
    series = [spread("ours, all", [0, 1, 2], [[1.0, 2, 3], [3, 4, 5]]), Series("one", np.arange(2.0), np.ones(2))]
    claims = [every("it is one", [1, 1], 1, 1)]
    fields = {
        "name": "test-fig",
        "title": "A test",
        "settings": settings,
        "seeds": [0, 1],
        "series": series,
        "claims": claims,
    }
    return Figure(
        **{
            **fields,
            "reference": [Series("theirs", np.arange(3.0), np.array([2, 3, 8.0]))],
            "notes": ["why"],
            **changes,
        }
    )


# ---------------------------------------------------------------- data


def test_spread_is_the_mean_between_the_extremes():
    series = example().series[0]
    assert series.y.tolist() == [2, 3, 4] and series.low.tolist() == [1, 2, 3] and series.high.tolist() == [3, 4, 5]
    assert example()["one"].name == "one"
    with pytest.raises(KeyError, match="'two' is no series of test-fig; there are ours, all, one"):
        example()["two"]


def test_comparison_finds_the_worst_factor_at_shared_points():
    ours = Series("ours", np.array([0, 1, 2, 5.0]), np.array([1, 2, 3, 100.0]))
    theirs = Series("theirs", np.array([1, 2, 3.0]), np.array([1, 12, 1.0]))
    found = compare(ours, theirs)
    assert (found.factor, found.at, found.ours, found.theirs) == (4, 2, 3, 12)
    assert compare(ours, Series("far", np.array([9.0]), np.array([1.0]))) is None
    assert found.points == [(1, 2), (2, 4)] and found.median == 3


@pytest.mark.parametrize(
    ("ours", "theirs", "factor"),
    [
        (0, 1, np.inf),
        (1, 0, np.inf),
        (0, 0, 1),
        (-2, 1, np.inf),
        (-2, -4, 2),
        (1e300, 1e-300, np.inf),
        (3, 3, 1),
        (1e-200, 4e-200, 4),
    ],
)
def test_the_factor_between_two_values(ours, theirs, factor):
    found = compare(
        Series("ours", np.array([1]), np.array([ours])), Series("theirs", np.array([1.0]), np.array([theirs]))
    )
    assert (found.factor, found.median, found.points) == (factor, factor, [(1, factor)])


def test_a_point_without_a_value_is_not_compared():
    holed = Series("ours", np.array([1.0, 2.0]), np.array([np.nan, 2.0]))
    theirs = Series("theirs", np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, np.nan]))
    assert compare(holed, theirs).points == [(2, 2)]
    assert compare(Series("ours", np.array([1.0, 3.0]), np.array([np.nan, 1.0])), theirs) is None


@pytest.mark.parametrize("name", ["2a", "2b", "2c", "2d", "3a", "3b", "4a", "5a"])
def test_the_papers_curves_are_in_the_package(name):
    curves = published(f"fig{name}")
    assert curves and all(len(curve.x) == len(curve.y) > 0 and np.isfinite(curve.y).all() for curve in curves)
    assert len({curve.name for curve in curves}) == len(curves)
    assert not any(curve.name.startswith('"') for curve in curves)


def test_every_seed_is_in_the_files():
    values = np.array([[1.0, 2.0], [3.0, 5.0]])
    figure = replace(example(), seeds=[4, 7], series=[spread("ours", [0, 10], values), Series("alone", *values)])
    rows = list(csv.DictReader(io.StringIO(figure.to_csv())))
    found = [[float(row[f"seed {seed}"]) for row in rows if row["series"] == "ours"] for seed in (4, 7)]
    assert found == values.tolist() and {row["seed 4"] for row in rows if row["series"] == "alone"} == {""}
    again = figure_of(json.loads(to_json(figure.to_dict())))
    np.testing.assert_array_equal(again["ours"].each, values)
    assert again["alone"].each is None and again.to_csv() == figure.to_csv()


def test_json_is_that_of_the_contract():
    data = json.loads(json.dumps(example().to_dict(), default=lambda array: array.tolist()))
    assert {
        "format",
        "nlicl",
        "figure",
        "original",
        "options",
        "settings",
        "seeds",
        "series",
        "reference",
        "claims",
    } <= set(data)
    for row in [*data["series"], *data["reference"]]:
        assert set(row) == {"name", "x", "y", "low", "high", "each"} and len(row["x"]) == len(row["low"]) == len(
            row["high"]
        )
    assert {"claim", "measured", "expected", "holds"} <= set(data["claims"][0])


@pytest.mark.parametrize("paper", SHOWN)
def test_recipes_know_their_paper_and_their_names(paper):
    """What a module of figures says does not matter: the register has one name for a figure and its files."""
    recipes = load(paper)
    assert recipes and all(recipe.name == name and recipe.paper == paper for name, recipe in recipes.items())


def test_a_recipe_names_its_figure():
    unnamed = example(name="")
    assert unnamed.name == ""
    recipe = Recipe("fig1", "a title", no_runs, None, lambda options, seeds, found: unnamed, draw=None)
    assert recipe.result({}, [0], []).name == "fig1"
    assert replace(recipe, paper="toy").result({}, [0], []).name == "toy-fig1"
    asked = replace(recipe, options={"K": 3, "d": 1}).result({"K": 5, "d": 1, "quick": True}, [0], [])
    assert asked.options == {"K": 5, "quick": True}
    assert recipe.result({"quick": False}, [0], []).options == {}
    with pytest.raises(KeyError, match="'two' is no series of 'A test'"):
        unnamed["two"]


def test_curves_are_read_from_any_file(tmp_path):
    file = tmp_path / "curves.csv"
    file.write_text('series,x,y\r\n"one, all",1,2\r\nother,5,6\r\n"one, all",3,4\r\n', encoding="utf-8", newline="")
    one, other = read_curves(file)
    assert (one.name, one.x.tolist(), one.y.tolist()) == ("one, all", [1, 3], [2, 4])
    assert (other.name, other.x.tolist(), other.y.tolist()) == ("other", [5], [6])


def test_an_undetermined_claim_is_shown_as_one_and_is_no_success():
    claims = [every("it is one", [1], 1, 1), every("it is two", [1], 2, 2), if_promised(every("so", [1], 2), False)]
    assert example(claims=claims[:1]).ok and not example(claims=claims[::2]).ok
    text = page("toy", "A title", [example(claims=claims)])
    assert "1 of 3 claims hold." in text
    assert "| holds | it is one |" in text and "| **FAILS** | it is two |" in text and "| ? | so |" in text


def test_a_page_explains_its_marks():
    text = page("toy", "A title", [example(settings={"l": [20, "quoted"]}, notes=["so it is [measured]"])])
    assert f"## Marks\n\n| mark | means |\n|---|---|\n| [quoted] | {MEANINGS['quoted']} |\n| [measured] |" in text
    assert "## Marks" not in page("toy", "A title", [example(settings={}, notes=[])])


# ---------------------------------------------------------------- files


def test_files_are_written_and_say_the_same(tmp_path):
    pytest.importorskip("matplotlib")
    figure = example()
    draw = lambda data: training.draw_2c(FIGURE_2C())  # noqa: E731
    files = figure.write(tmp_path, draw, ("png", "pdf", "svg"))
    assert [path.name for path in files] == [f"test-fig.{kind}" for kind in ("json", "csv", "png", "pdf", "svg")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files)
    data = json.loads(files[0].read_text())
    assert data["settings"]["K"] == ["nan", "recalled"] and data["settings"]["tasks"][0] == [[0, 1]]
    rows = list(csv.reader(io.StringIO(files[1].read_text())))
    assert rows[0] == ["series", "x", "y", "low", "high", "seed 0", "seed 1"]
    assert rows[1] == ["ours, all", "0.0", "2.0", "1.0", "3.0", "1.0", "3.0"]
    assert rows[-1] == ["paper: theirs", "2.0", "8.0", "8.0", "8.0", "", ""] and len(rows) == 1 + 3 + 2 + 3
    heads = [path.read_bytes()[:5] for path in files[2:]]
    assert heads == [b"\x89PNG\r", b"%PDF-", b"<?xml"]
    before = [path.read_bytes() for path in files]
    figure.write(tmp_path, draw, ("png", "pdf", "svg"))
    assert [path.read_bytes() for path in files] == before  # the same data give the same files


def test_a_drawing_that_fails_writes_nothing(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ZeroDivisionError):
        example().write(tmp_path, lambda data: 1 / 0)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- Figure 2


STEPS = np.arange(0, 401, 20)


def rise(start, end):
    """A curve from start to end that has arrived at step 200."""
    return np.interp(STEPS, [0, 100, 200], [start, start, end])


def found_2a(end=1.77):
    norm, part = rise(0.416, end), rise(0.4, 1.54)
    return {"steps": STEPS, **dict(zip(training._CURVES, (norm, part, norm, part), strict=True))}


def found_2b(six=0.84):
    return {"steps": STEPS, "6 tasks": rise(0.437, six), "18 tasks": rise(0.437, 0.977), "in-domain": rise(0.44, 0.965)}


def found_neurons(sign=1.0, label=1.02):
    """64 neurons: 30 of each sign that turn, four that stay small."""
    a = np.repeat([1.0, -1.0], 32) / 32
    small = np.isin(np.arange(64), (30, 31, 62, 63))

    def turn(start, end):
        path = start + np.multiply.outer(rise(0, 1), (end - start) * np.ones(64))
        return np.where(small, start, path)

    toward = np.where(a * sign > 0, 0.05, np.pi - 0.05)
    return {
        "steps": STEPS,
        "a": a,
        "norm": turn(0.155, 0.48 + 0.001 * np.arange(64)),
        "feature": turn(0.022, 0.54),
        "label": turn(0.022, label),
        "feature_angle": turn(np.pi / 2, 0.09),
        "label_angle": turn(np.pi / 2, toward),
    }


def FIGURE_2C():
    return training.assemble_2c(FULL, [0], [found_neurons()])


CASES = [
    ("fig2a", found_2a, {"end": 1.85}, "norm of W_Q p_query at step 300"),
    ("fig2b", found_2b, {"six": 0.6}, "at step 300, 6 training tasks"),
    ("fig2c", found_neurons, None, None),
    ("fig2d", found_neurons, {"sign": -1.0}, "angle to"),
    ("fig2d", found_neurons, {"label": 0.3}, "at step 300"),
]


@pytest.mark.parametrize(("name", "found", "wrong", "claim"), CASES)
def test_claims_hold_on_what_is_known_and_fail_on_what_is_wrong(name, found, wrong, claim):
    recipe = FIGURES[name]
    figure = recipe.result(FULL, [0, 1], [found(), found()])
    assert figure.ok, [c for c in figure.claims if not c.holds]
    assert figure.reference and figure.notes and figure.name == f"li2024-{name}"
    if wrong is not None:
        broken = recipe.result(FULL, [0, 1], [found(), found(**wrong)])
        failing = [c.claim for c in broken.claims if not c.holds]
        assert failing and all(claim in text for text in failing), failing


@pytest.mark.parametrize("name", ["fig2a", "fig2b", "fig2c", "fig2d"])
def test_figure_2_is_drawn(name):
    pytest.importorskip("matplotlib")
    from nlicl.experiments.style import render

    found = {"fig2a": found_2a, "fig2b": found_2b}.get(name, found_neurons)
    recipe = FIGURES[name]
    picture = render(recipe.draw, recipe.result(FULL, [0, 1], [found(), found()]), "png")
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


def test_what_is_measured_is_the_history():
    from nlicl.experiments.experiment import Training
    from nlicl.papers import li2024

    problem = li2024.Problem(M1=6, M2=3, d_X=9, d_Y=3, m=7, length=5, batch=6, steps=4)
    runs = {"6 tasks": Training(problem, measure=2).run(0), "18 tasks": Training(problem, measure=2).run(1)}
    found = training.measure_2a(FULL, 0, runs)
    assert found["steps"].tolist() == [0, 2, 4]
    np.testing.assert_array_equal(found["W_K p_i"], runs["6 tasks"].history["key_norm"])
    found = training.measure_2b(FULL, 0, runs)
    np.testing.assert_array_equal(found["18 tasks"], runs["18 tasks"].history["attention_ood"])
    found = training.measure_neurons(FULL, 0, runs)
    np.testing.assert_array_equal(found["label_angle"], runs["6 tasks"].history["label_angle"])
    assert [recipe.runs(FULL).keys() for recipe in training.RECIPES][1] == {"6 tasks", "18 tasks"}


def test_other_papers_have_no_figures():
    with pytest.raises(ValueError, match=f"paper is 'nobody'; {EXPECTED}"):
        load("nobody")


@pytest.mark.parametrize(
    ("folder", "formats", "message"),
    [
        (".", ["zzz"], r"^formats is 'zzz'; expected one of 'png', 'pdf', 'svg'"),
        (".", ["png", 5], r"^formats is 5; expected one of"),
        (".", 5, r"^formats is 5; expected a list of 'png', 'pdf', 'svg'"),
        (5, ["png"], r"^folder is 5; expected the path of a folder"),
    ],
)
def test_formats_are_looked_at_before_anything_is_drawn(tmp_path, monkeypatch, folder, formats, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        example().write(folder, lambda data: pytest.fail("it draws"), formats)
    assert not list(tmp_path.iterdir())
