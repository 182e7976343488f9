"""The bench of wrong gradients itself: right ones are right, wrong ones are wrong, and as many as are said."""

import importlib
import json
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from child import ROOT

BENCH = ROOT / "bench"
if not BENCH.exists():
    pytest.skip("installed: there is no bench/", allow_module_level=True)


@pytest.fixture(scope="module")
def bench():
    """bench("mistakes.places") is the module of that name, imported as the scripts of the folder do."""
    sys.path.insert(0, str(BENCH))
    yield importlib.import_module
    sys.path.remove(str(BENCH))
    for name in [name for name in sys.modules if name.split(".")[0] in ("mistakes", "mends")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def cases(bench):
    return [case for family in bench("mistakes").FAMILIES.values() for case in family]


@pytest.fixture(scope="module")
def formulas(bench):
    return bench("mistakes.papers").FORMULAS


def central(places, loss, x, h):
    """Central differences in every entry."""
    found = [np.zeros(part.shape) for part in places.leaves(x)]
    for k, gradient in enumerate(found):
        for index in np.ndindex(*gradient.shape):
            ends = []
            for step in (h, -h):
                moved = places.leaves(x)
                moved[k] = moved[k].copy()
                moved[k][index] += step
                ends.append(float(places.call(loss, places.like(x, moved))))
            gradient[index] = (ends[0] - ends[1]) / (2 * h)
    return found


def agrees(places, case, x):
    """At one of two steps: where a kink or a pole is near, the longer one may cross it, and the shorter one rounds more."""
    right = places.leaves(places.call(case.right, x))
    for h, tolerance in ((1e-5, 1e-5), (1e-7, 1e-4)):
        numeric = central(places, case.loss, x, h)
        pairs = list(zip(numeric, right, strict=True))
        if all(a.shape == b.shape and abs(a - b).max() <= tolerance * (1 + abs(b).max()) for a, b in pairs):
            return True
    return False


def test_counts(cases, formulas):
    wrong = [wrong for case in cases for wrong in case.wrong]
    two = sum(one.mistakes == 2 and not one.hard for one in wrong)
    single = sum(one.mistakes == 1 and not one.hard for one in wrong)
    assert len(cases) >= 40 and len(wrong) >= 150
    assert two >= 40 and 0.65 * len(wrong) <= single <= 0.8 * len(wrong)
    assert 8 <= sum(one.hard for one in wrong) <= 15
    papers = Counter(formula.paper for formula in formulas)
    assert papers["li2024"] >= 30 and papers["huang2023"] >= 10 and papers["bu2024"] >= 10


def test_names_are_unique_and_mistakes_are_said(cases, formulas):
    wrong = [*formulas, *(wrong for case in cases for wrong in case.wrong)]
    assert max(Counter(case.name for case in cases).values()) == 1
    assert max(Counter(one.name for one in wrong).values()) == 1
    assert not [one.name for one in wrong if not one.says or one.name == "<lambda>"]


def test_kinds_are_those_of_the_diagnosis(cases, formulas):
    pages = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("audit.md", "audit-gradient.md"))
    kinds = {kind for case in cases for wrong in case.wrong for kind in wrong.kinds}
    kinds |= {kind for formula in formulas for kind in formula.kinds}
    assert not [kind for kind in kinds if f"`{kind}`" not in pages]
    assert "unknown" not in kinds


def test_right_gradients_are_right(bench, cases):
    """Where a repaired function is tried too: near, far, with signs flipped, of other sizes."""
    places = bench("mistakes.places")
    for case in cases:
        for x in [case.point, *places.places(case, np.random.default_rng(5), 8)]:
            assert agrees(places, case, x), (case.name, x)


def test_places_are_enough(bench, cases):
    places = bench("mistakes.places")
    for case in cases:
        assert len(list(places.places(case, np.random.default_rng(5), 55))) >= 50, case.name


def test_wrong_gradients_are_wrong(bench, cases):
    places = bench("mistakes.places")
    for case in cases:
        for wrong in case.wrong:
            points = [case.point, *places.places(case, np.random.default_rng(6), 3)]
            given = [places.leaves(places.call(wrong.function, x)) for x in points]
            right = [places.leaves(places.call(case.right, x)) for x in points]
            for one, other in zip(given, right, strict=True):
                assert [a.shape for a in one] == [a.shape for a in other], wrong.name
            off = [
                abs(a - b).max()
                for one, other in zip(given, right, strict=True)
                for a, b in zip(one, other, strict=True)
            ]
            assert not max(off) <= 1e-6, wrong.name


def test_wrong_gradients_are_functions(bench, cases):
    """They keep nothing and change nothing: called twice they give the same bits."""
    places = bench("mistakes.places")
    for case in cases:
        for function in (case.right, *(wrong.function for wrong in case.wrong)):
            before = [part.copy() for part in places.leaves(case.point)]
            given = places.leaves(places.call(function, case.point))
            again = places.leaves(places.call(function, case.point))
            assert all(np.array_equal(a, b) for a, b in zip(given, again, strict=True)), function
            assert all(np.array_equal(a, b) for a, b in zip(before, places.leaves(case.point), strict=True)), function


def test_wrong_formulas_are_wrong(bench, formulas):
    places = bench("mistakes.places")
    for wrong in formulas:
        judged = 0
        for params, prompt, right in places.formula_places(wrong, seed=5, draws=11):
            try:
                given = wrong.function(params, prompt)
            except ValueError:  # a transposed matrix that fits where it is square alone
                judged += 1
                continue
            judged += places.differs(given, right)
        assert judged, wrong.name


def test_right_formulas_are_right(bench):
    """The places at which formulas are tried, by the papers' own."""
    papers, places = bench("mistakes.papers"), bench("mistakes.places")
    for name, paper in papers.PAPERS.items():
        for formula in paper.formulas.values():
            if formula.expected == "agree":
                own = papers.WrongFormula(formula, (), name=formula.name, says="right", paper=name, wrt=formula.wrt)
                draws = list(places.formula_places(own, seed=5, draws=6))
                assert draws and not [p for p, prompt, right in draws if places.differs(formula(p, prompt), right)]


def test_differs(bench):
    differs = bench("mistakes.places").differs
    x = np.array([1.0, 2.0])
    assert not differs(x * (1 + 1e-9), x) and not differs((x, x), (x, x)) and not differs({"a": x}, {"a": x})
    assert differs(x * (1 + 1e-5), x) and differs(x[:1], x) and differs(x * np.nan, x) and differs((x, -x), (x, x))


class Audit:
    """A report of what is asked for, in place of an audit."""

    def __init__(self, repaired, change, result):
        part = SimpleNamespace(verdict="disagree", diagnosis=[{"kind": "scale", "detail": "given = 9 times expected"}])
        text = (
            (BENCH / "mistakes" / "regression.py")
            .read_text(encoding="utf-8")
            .replace("    return X.T @ residual", result)
        )
        changes = [SimpleNamespace(before="x", after=change, line=1)]
        repair = SimpleNamespace(function=repaired, changes=changes, text=text)
        self.formulas, self.verdict, self.repairs = [part], "disagree", [repair] if repaired else []
        self.mending = SimpleNamespace(note="", tried=3, seconds=0.5)

    def __call__(self, seconds):
        return self


@pytest.fixture
def judged(bench):
    mends, ridge = bench("mends"), bench("mistakes.regression")
    case = ridge.CASES[0]
    wrong = next(wrong for wrong in case.wrong if wrong.name == "ridge_sum")

    def row(repaired, change="x", result="    return X.T @ residual / n"):
        trial = mends.trial_of_case("regression", case, wrong)
        return mends.judge("regression", "ridge", wrong, Audit(repaired, change, result), trial, 1.0)

    return row


def test_a_mend_counts_if_it_is_right_everywhere(judged, bench):
    right = bench("mistakes.regression").ridge_gradient
    row = judged(right)
    assert row["mended"] and row["right"] and row["helpful"] and not row["wrong_mends"] and not row["copied"]
    assert not judged(None)["mended"]


def test_a_mend_that_holds_near_the_point_alone_is_wrong(judged, bench):
    ridge = bench("mistakes.regression")
    row = judged(lambda w: ridge.ridge_gradient(w) * (1 if abs(w).max() < 3 else 1.01))
    assert row["wrong_mends"] and not row["mended"]
    assert not judged(lambda w: 1 / 0)["mended"]


def test_a_mend_that_holds_with_these_data_alone_is_none(judged, bench):
    """A number fitted to the data, say. The repaired text is what is run with others."""
    ridge = bench("mistakes.regression")
    row = judged(ridge.ridge_gradient, result=f"    return X.T @ residual * {(ridge.X[0, 0] / ridge.n)!r} / X[0, 0]")
    assert row["data_alone"] and not row["wrong_mends"] and not row["mended"]


def test_right_gradients_are_right_with_other_data(bench):
    families, data, places = bench("mistakes").FAMILIES, bench("mistakes.data"), bench("mistakes.places")
    for family, cases in families.items():
        text = (BENCH / "mistakes" / f"{family}.py").read_text(encoding="utf-8")
        for case, other in zip(cases, data.with_other_data(text, family), strict=True):
            assert case.name == other.name
            for x in [other.point, *places.places(other, np.random.default_rng(5), 3)]:
                assert agrees(places, other, x), case.name


@pytest.mark.skipif(np.finfo(np.longdouble).eps == np.finfo(float).eps, reason="long double is float64 here")
def test_a_mend_that_rounds_is_neither_right_nor_wrong(judged, bench):
    right = bench("mistakes.regression").ridge_gradient
    row = judged(lambda w: (right(w) + 1e12 * w) - 1e12 * w)
    assert row["lost"] and not row["wrong_mends"] and not row["mended"]
    assert judged(lambda w: right(w) + 1e-4 * w)["wrong_mends"]


def test_the_right_gradient_itself_is_no_mend(judged, bench):
    row = judged(bench("mistakes.regression").ridge_gradient, "return ridge_gradient(w)")
    assert row["copied"] and not row["mended"]


def test_tables_count(judged, bench):
    mends = bench("mends")
    rows = [judged(bench("mistakes.regression").ridge_gradient), judged(None)]
    first = {row[0]: row[1:] for row in mends.tables(rows)[0][1]}
    assert first["one mistake"][:6] == ["2", "2 (100%)", "2 (100%)", "2 (100%)", "1 (50%)", "0"]
    assert first["two mistakes"][0] == "0"
    assert mends.markdown(rows).count("\n|") and "one mistake" in mends.text(rows)


def test_the_audit_runs(bench, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["mends.py", "--quick", "--seconds", "0", "--case", "ridge", "huang2023 S",
                                      "--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")])  # fmt: skip
    assert bench("mends").main() == 0
    assert "2 (100%)" in capsys.readouterr().out
    assert (tmp_path / "a.json").exists() and (tmp_path / "a.md").read_text().startswith("| mistakes |")


@pytest.mark.slow
def test_no_mend_of_a_family_is_wrong(bench, monkeypatch, tmp_path):
    rows = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["mends.py", "--case", "regression", "--json", str(rows)])
    assert bench("mends").main() == 0
    assert any(row["mended"] for row in json.loads(rows.read_text(encoding="utf-8")))
