"""What a report says of itself in a sentence, and what its page says first. The reports are made up."""

import re
from datetime import date

import numpy as np
import pytest

import nlicl
from nlicl.audit import AuditReport, FormulaReport
from nlicl.audit.report.columns import Background
from nlicl.audit.report.headline import headline
from nlicl.audit.report.html import page
from nlicl.papers import li2024


def formula(name="dWK", verdict="disagree", role="own", wrt="W_K", draws=20, **more):
    """A report on one formula."""
    found = {"expected": "agree", "erratum": None, "digits": 14.6 if verdict == "agree" else 0.0}
    found |= {"wrong_draws": list(range(14)) if verdict == "disagree" else [], "background": Background(role=role)}
    return FormulaReport(name, wrt, name, "appendix.py", draws=draws, verdict=verdict, **found | more)


def report(*formulas, draws=20):
    return AuditReport("li2024", 0, draws, list(formulas))


def named(n):
    return {"mistakes": n, "diagnosis": [{"kind": "scale", "detail": f"mistake {k}"} for k in range(n)]}


WRONG = "dWK is not d loss / d W_K: it is wrong on 14 of 20 random inputs"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (named(1), f"{WRONG}; one mistake was found, and is named below."),
        (named(2), f"{WRONG}; two mistakes were found, both are named below."),
        (named(3), f"{WRONG}; three mistakes were found, all are named below."),
        (named(1) | {"mistakes": 0}, f"{WRONG}; what is wrong is named below."),
        ({"diagnosis": [{"kind": "unknown", "detail": "?"}]}, f"{WRONG}; no mistake that the audit knows explains it."),
        (
            {"wrong_draws": list(range(20))} | named(1),
            "dWK is not d loss / d W_K: it is wrong on all 20 random inputs; one mistake was found, and is named below.",
        ),
        (
            {"expected": "disagree", "draws": 11, "wrong_draws": [1, 2]} | named(1),
            "dWK is not d loss / d W_K, as is known: it is wrong on 2 of 11 random inputs where it is defined; one mistake "
            "was found, and is named below.",
        ),
        (
            {"failed": [0, 1], "error": "dWK raises ValueError: a, on draw 0: random, and 2 of 20 in all"} | named(1),
            "dWK is not d loss / d W_K: it raises ValueError: a, on 2 of 20 random inputs, and it is wrong on 14 of the other "
            "18; one mistake was found, and is named below.",
        ),
        (
            {
                "failed": list(range(20)),
                "wrong_draws": [],
                "error": "dWK returns shape (3,); expected shape (4, 5), on draw 0: x",
            },
            "dWK is not d loss / d W_K: it returns shape (3,); expected shape (4, 5), on all 20 random inputs.",
        ),
        ({"verdict": "agree"}, "dWK is d loss / d W_K on all 20 random inputs, to 14 digits."),
        ({"verdict": "agree", "digits": 1.7}, "dWK is d loss / d W_K on all 20 random inputs, to 1 digit."),
        (
            {"verdict": "agree", "left_out": [3, 4, 5]},
            "dWK is d loss / d W_K on 17 of 20 random inputs (the other 3 tell nothing, since rounding there is too large), "
            "to 14 digits.",
        ),
        (
            {"verdict": "agree", "expected": "disagree"},
            "dWK is d loss / d W_K on all 20 random inputs, to 14 digits, although it is registered as wrong.",
        ),
        (
            {"verdict": "undetermined", "reason": "nothing was active"},
            "It is undetermined whether dWK is d loss / d W_K: nothing was active.",
        ),
        (
            {
                "verdict": "undetermined",
                "failed": list(range(20)),
                "error": "dWK raises KeyError: 'b', on draw 0: random",
            },
            "It is undetermined whether dWK is d loss / d W_K: it raises KeyError: 'b', on all 20 random inputs.",
        ),
    ],
)
def test_one_formula(found, expected):
    verdict = found.pop("verdict", "disagree")
    if verdict != "disagree":
        found = {"wrong_draws": [], "digits": 14.6} | found
    assert headline(report(formula(verdict=verdict, **found))) == expected


def test_several_formulas():
    right, open_ = formula("dWQ", "agree", wrt="W_Q"), formula("da", "undetermined", wrt="a", reason="it is zero")
    wrong = formula(**named(2))
    text = headline(report(right, open_, wrong))
    assert text.startswith(f"{WRONG}; two") and "It is undetermined whether da is d loss / d a: it is zero." in text
    assert text.endswith("dWQ is d loss / d W_Q on all 20 random inputs, to 14 digits.")
    text = headline(report(right, open_, wrong, wrong))
    assert (
        text
        == "Of 4 formulas two are wrong: dWK, dWK. Of 4 formulas one is undetermined: da. Of 4 formulas one is right: dWQ."
    )


def test_a_whole_paper():
    right = [formula(name, "agree", "formula", name) for name in ("W_Q", "W_K")]
    library = [formula("library W_Q", "agree", "library", digits=15.2)]
    known = [formula("W_V_printed", role="formula", expected="disagree")]
    control = [formula("negative control", role="control", expected="disagree")]
    text = headline(report(*right, *library, *known, *control))
    assert text == (
        "All 2 gradient formulas that nlicl has for li2024 are right, to 14 digits or more; so is the library's own gradient. "
        "One other formula is known to be wrong, and the audit finds that by itself."
    )
    bad = headline(report(*right, formula(role="formula", **named(1)), *known))
    assert bad == f"{WRONG}; one mistake was found, and is named below. The other 3 verdicts are as expected."
    missed = headline(report(*right, formula("negative control", "agree", "control", expected="disagree")))
    assert missed.startswith("The negative control, a formula that is broken on purpose, was not caught")


def test_functions_of_ones_own():
    x = np.array([0.3, 0.7, -1.2])

    def loss(x):
        return x @ x

    right = nlicl.audit_gradient(loss, lambda x: 2 * x, x)
    assert re.fullmatch(r"The given gradient is d loss / d x at all 3 points, to 1\d digits\.", headline(right))
    wrong = nlicl.audit_gradient(loss, lambda x: x, x, mend=0)
    assert headline(wrong).startswith("The given gradient is not d loss / d x: it is wrong at all 3 points; ")
    product = nlicl.audit_gradient(loss, lambda x: 2 * x, x, hessian=lambda x: np.eye(3))
    assert headline(product).startswith("The gradient agrees; the Hessian does not") and "is d loss / d x" in headline(
        product
    )
    assert "nlicl.audit_gradient(loss, " in page(product) and ", x, seed=0, hessian=...)" in page(product)


def test_the_page_says_it_first_and_facts_before_sizes():
    worst = {
        "index": [0, 1],
        "given": 1.0,
        "expected": 2.0,
        "draw": 3,
        "label": "random (d=5)",
        "sizes": {"d": 5, "m": 7},
    }
    wrong = formula(worst=worst, facts=["it is wrong where z is negative, and right elsewhere"], **named(2))
    text = page(report(wrong), date(2026, 1, 2))
    assert f"<h1>{WRONG}; two mistakes were found, both are named below.</h1>" in text and "2026-01-02" in text
    order = [
        "It is wrong where z",
        "Mistake 1 of 2: mistake 0",
        "Mistake 2 of 2: mistake 1",
        "Worst entry W_K[0, 1] of draw 3",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places) and "Draw 3: random (d=5); m = 7" in text
    wrong.mistakes = 1
    assert "Another explanation of the same: mistake 1" in page(report(wrong))


def test_the_model_and_the_right_gradient_are_on_the_page(tmp_path):
    def dWK(params, prompt):
        r"""My title

        $$\sum_s p_s$$
        """
        return -li2024.formulas["W_K"](params, prompt)

    found = nlicl.audit_formula(dWK, wrt="W_K", draws=4, mend=0)
    entry = found.formulas[0]
    assert entry.background.right[0] == "W_K" and "background" not in found.to_dict()["formulas"][0]
    assert entry.worst["label"] and entry.worst["sizes"]["d"] > 0 and "sqrt(d)" not in entry.worst["sizes"]
    text = page(found)
    for part in ("The model and its loss", "The right gradient", "<strong>My title</strong>", "the label of the query"):
        assert part in text
    assert (
        text.count("<h1>") == 1
        and "nlicl.audit_formula(dWK, paper=&#x27;li2024&#x27;, wrt=&#x27;W_K&#x27;, draws=4" in text
    )
    assert "nlicl 0" in text and "Python 3" in text
    itself = nlicl.audit_formula(li2024.formulas["W_K"], draws=4)
    assert itself.formulas[0].background.right is None and "The gradient that it equals" not in page(itself)
    assert "li2024.formulas[&#x27;W_K&#x27;]" in page(itself)


def test_the_right_gradient_is_of_the_same_model():
    from nlicl.papers import huang2023

    def dQ(params, prompt):
        return 0 * params.Q

    for attends, name in ((False, "Q"), (True, "Q_unmasked")):
        found = nlicl.audit_formula(dQ, paper="huang2023", wrt="Q", draws=2, query_attends=attends, mend=0)
        assert found.formulas[0].background.right[0] == name == huang2023.formulas[name].name


def test_drawings_have_numbers_and_none_is_of_rounding():
    taylor = {"steps": [1.0, 0.5, 0.25], "remainders": [1e-2, 5e-3, 2.5e-3]}
    wrong = formula(
        taylor=taylor, witnesses={"taylor_slope": 1.0}, heat_map={"draw": 0, "errors": [[1.0, 0.5], [0, 1e-3]]}
    )
    text = page(report(wrong))
    assert "step t</text>" in text and "remainder</text>" in text and "slope 2</text>" in text
    assert "[1, 1] 1.0e-03</title>" in text and "exact</text>" in text
    wrong.witnesses["taylor_slope"] = None  # the remainder is rounding
    assert "step t</text>" not in page(report(wrong))
    for shape in ((3,), (2, 3, 4), (2, 2, 2, 3), (90, 70), ()):
        wrong.heat_map = {"draw": 0, "errors": np.ones(shape).tolist()}
        drawn = page(report(wrong))
        assert drawn.count("<rect") < 45 * 50 and "Relative error of each entry" in drawn
    assert "worst of" in page(report(formula(heat_map={"draw": 0, "errors": np.ones((90, 70)).tolist()})))
