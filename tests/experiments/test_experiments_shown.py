"""Figures, theorems, sweeps and laws in a notebook."""

import re
import sys

import numpy as np
import pytest

from nlicl.core.text import INVISIBLE
from nlicl.experiments import style
from nlicl.experiments.claims import Claim
from nlicl.experiments.figure import Figure
from nlicl.experiments.series import Series, spread
from nlicl.experiments.sweeps.cell import Record
from nlicl.experiments.sweeps.laws import Theory, fit_power
from nlicl.experiments.sweeps.table import Table
from nlicl.experiments.theorem import Condition, Theorem

HOSTILE = "<script>alert(1)</script>\u202e\nforged"
CLAIMS = [Claim(HOSTILE, "small", "0.5", True), Claim("b", "large", "0.1", False), Claim("c", "any", "?", None)]


def records(names=("alpha",), steps=4):
    for i in range(steps):
        for seed in range(3):
            over = dict.fromkeys(names, 0.2 * (i + 1))
            yield Record(f"{i}-{seed}", over, seed, "done", "", 10, {"loss": 2.0 / (i + 1) + 0.01 * seed})


def figure():
    x = np.arange(5.0)
    return Figure(HOSTILE, {}, [0, 1], [spread(HOSTILE, x, [x, x + 1]), Series("bad", x, x * np.nan)], CLAIMS)


def theorem():
    return Theorem(HOSTILE, HOSTILE, {}, [0], [Condition(HOSTILE, "here", None)], CLAIMS, [HOSTILE])


def table(**more):
    return Table(("alpha",), ("loss",), records(**more))


def law():
    found = table()
    stated = {"alpha": Theory(-1.0, HOSTILE)}
    return fit_power({"alpha": found["alpha"]}, found["loss"], found["seed"], theory=stated, y_name="loss")


@pytest.mark.parametrize("make", [figure, theorem, law])
def test_a_text_is_no_markup(make):
    shown = make()._repr_html_()
    assert "<script" not in shown and "&lt;script&gt;" in shown and not re.search(f"[{INVISIBLE}]", shown)
    assert len(shown) < 10_000


@pytest.mark.parametrize("make", [figure, theorem])
def test_claims_have_their_verdicts(make):
    shown = make()._repr_html_()
    assert all(f">{verdict}</span>" in shown for verdict in ("holds", "FAILS", "?"))


def test_curves_of_a_figure_are_as_small_as_a_word():
    shown = figure()._repr_html_()
    assert shown.count("<svg") == 1 and "none" in shown


def test_a_figure_s_repr_is_one_line():
    assert repr(Figure("A title", {}, [0], [], CLAIMS)) == "Figure('A title', 0 series, 1 of 3 claims hold)"


def test_a_sweep_shows_medians_and_a_curve():
    shown = table()._repr_html_()
    assert "4 settings, 12 runs" in shown and "2.01 (2 to 2.02)" in shown and shown.count("<circle") == 4


def test_a_sweep_over_many_settings_or_texts_is_short():
    many = Table(("alpha",), ("loss",), records(steps=500))
    assert len(many._repr_html_()) < 100_000 and "and 476 more" in many._repr_html_()
    texts = [record._replace(over={"alpha": HOSTILE}) for record in records()]
    shown = Table(("alpha",), ("loss",), texts)._repr_html_()
    assert "<svg" not in shown and "<script" not in shown
    none = [record._replace(state="failed", reason=HOSTILE) for record in records()]
    assert "12 not done" in Table(("alpha",), ("loss",), none)._repr_html_()
    lost = [record._replace(values={"loss": np.inf}) for record in records()]
    assert "not reached" in Table(("alpha",), ("loss",), lost)._repr_html_()


def test_a_law_shows_its_exponent_beside_the_theorem_s():
    shown, found = law()._repr_html_(), law()
    each = found.exponents["alpha"]
    assert f"{each.value:.3g}" in shown and f"{each.low:.3g} to {each.high:.3g}" in shown and "-1, " in shown
    assert repr(found).startswith("PowerLaw(loss = ") and repr(found).endswith("12 cells of 3 seeds)")


def test_a_picture_is_shown_without_pyplot_and_has_the_look_of_all_figures():
    canvas = table().draw(None, table().fit())
    assert canvas._repr_png_().startswith(b"\x89PNG")
    assert canvas.axes[0].xaxis.label.get_fontsize() == style.SETTINGS["axes.labelsize"]


def test_a_table_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"table.to_pandas needs pandas, .*pip install '.\[notebook\]'"):
        table().to_pandas()
