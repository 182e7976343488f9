"""What separates wrong draws from right ones, and plain facts: what is said holds, and is not said where it does not."""

import re
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from nlicl.audit import Formula
from nlicl.audit.bench import Bench
from nlicl.audit.comparison import numbered
from nlicl.audit.conditions import Separator, separators
from nlicl.audit.facts import Judged, plain_facts
from nlicl.audit.report import AuditReport
from nlicl.audit.report.table import table
from nlicl.models.transformer.reference import forward
from nlicl.papers import huang2023, li2024

RIGHT = {name: li2024.formulas[name].function for name in ("W_Q", "W_K", "W_V", "W_O", "a")}
HINGE = (
    "wrong on the 6 draws where the hinge is inactive (the right gradient is zero there), "
    "right on the 14 where it is active"
)


@lru_cache(None)
def bench(paper, draws, seed):
    return Bench(paper.subject, draws, seed)


def report_on(function, wrt="W_Q", draws=20, seed=0, paper=li2024):
    return bench(paper, draws, seed).audit(Formula(function, "given", wrt, "", ""))


def sentences(report):
    return [*report.said, *report.facts]


def times(factor, wrt="W_Q"):
    """The right gradient times factor(params, prompt)."""
    return lambda params, prompt: factor(params, prompt) * RIGHT[wrt](params, prompt)


def score(params, prompt):
    return forward(params, prompt).score


def without_hinge(params, prompt):
    out = forward(params, prompt)
    omega = params.W_O.T @ (params.a * (out.preactivation > 0))
    return -prompt.z * np.outer(omega, prompt.keys @ out.attention)


def leaky(params, prompt):
    """relu'(u) = 1/10 for u < 0."""
    out = forward(params, prompt)
    active = 1 - prompt.z * out.score > 0
    slopes = np.where(out.preactivation > 0, 1.0, 0.1)
    return -prompt.z * active * np.outer(params.a * slopes, params.W_V @ prompt.keys @ out.attention)


def nowhere(params, prompt):
    if score(params, prompt) < 0:
        raise ValueError("F is negative")
    return RIGHT["W_Q"](params, prompt)


def of_another_loss(params, prompt):
    """Of the squared loss."""
    out = forward(params, prompt)
    omega = params.W_O.T @ (params.a * (out.preactivation > 0))
    return (out.score - prompt.z) * np.outer(omega, prompt.keys @ out.attention)


def other_queries(params, prompt):
    return np.outer(RIGHT["W_Q"](params, prompt)[:, 0], prompt.contexts[:, 0])


SAID = [  # formula, parameter, what is said, what is not
    pytest.param(without_hinge, "W_V", [HINGE], [], id="hinge"),
    pytest.param(
        times(lambda p, x: 2.0 if x.z > 0 else 1.0),
        "W_Q",
        [
            "entries: wrong on 6 of the 10 draws where z = 1 (on the others both gradients are zero), right on the 10 where "
            "z = -1 (2 of them zero)",
            "2 times the right gradient on all 6 draws where it is wrong and should not be zero",
        ],
        [],
        id="label",
    ),
    pytest.param(
        times(lambda p, x: np.sign(score(p, x))),
        "W_Q",
        ["minus the expected gradient on 4 draws where F < 0, and the expected one on 10 where F > 0"],
        ["wrong on 4"],
        id="sign of the output",
    ),
    pytest.param(
        times(lambda p, x: float(score(p, x) > 0)), "W_Q", ["right on the 14 where F > 0"], ["every wrong"], id="zero"
    ),
    pytest.param(
        times(lambda p, x: 1.0 if len(p.W_Q) == p.W_Q.shape[1] else 1.1),
        "W_Q",
        ["draws where d and m_a differ", "right on the 11 where d = m_a", "W_Q is not square and W_K is not square"],
        [],
        id="sizes",
    ),
    pytest.param(
        times(lambda p, x: 1.0 if score(p, x) > 0 else np.nan),
        "W_Q",
        ["NaN or infinity on 6 of 20 draws: on those where F < 0"],
        ["wrong on the"],
        id="NaN",
    ),
    pytest.param(nowhere, "W_Q", ["on 6 of 20 draws, those where F < 0"], ["times"], id="raises"),
    pytest.param(of_another_loss, "W_V", ["not zero on 6 draws"], [], id="slow", marks=pytest.mark.slow),
]

FACTS = [  # the same, of facts alone
    pytest.param(
        leaky, "W_O", ["wrong in rows of inactive neurons only, on all 14 draws where it is wrong"], [], id="rows"
    ),
    pytest.param(
        of_another_loss,
        "W_V",
        [
            "not zero on 6 draws where the right gradient is: on those where the hinge is inactive",
            "a multiple of the right gradient on all 14 draws where it is wrong and should not be zero, by another pos",
        ],
        [],
        id="parallel",
    ),
    pytest.param(
        other_queries,
        "W_Q",
        ["both are outer products u v^T; the first vector is the right one, the second is wrong"],
        ["no entry has the wrong sign"],
        id="outer",
    ),
    pytest.param(
        lambda p, x: np.tanh(3 * RIGHT["W_Q"](p, x)), "W_Q", ["no entry has the wrong sign"], ["right one"], id="signs"
    ),
    pytest.param(
        lambda p, x: np.clip(RIGHT["W_Q"](p, x), -0.05, 0.05),
        "W_Q",
        ["wrong in just the entries that should be larger than", "all of these are 0.05 in size"],
        [],
        id="clipped",
    ),
    pytest.param(
        lambda p, x: np.random.default_rng(0).standard_normal(p.W_Q.shape),
        "W_Q",
        ["the same array on all draws of one size"],
        ["times", "sign", "outer"],
        id="constant",
    ),
    pytest.param(
        lambda p, x: (1.1 * RIGHT["W_Q"](p, x)).astype(np.float32) if x.z > 0 else RIGHT["W_Q"](p, x).astype("f"),
        "W_Q",
        ["where z = 1", "1.1 times the right gradient on all 6 draws"],
        [],
        id="float32",
    ),
]


def facts_of(function, wrt):
    """The facts alone, as if no mistake had been found: without the search for one."""
    cases = bench(li2024, 20, 0).single(False)
    given, bad = {}, []
    for n, case in enumerate(cases):
        given[n], expected = np.asarray(function(case.params, case.each[0])), case.complex_step(wrt)[0]
        if not np.allclose(given[n], expected, rtol=1e-4 if given[n].dtype == "f" else 1e-10, atol=1e-13):
            bad.append(n)
    return plain_facts(Judged(wrt, cases, given, bad, li2024.subject), [{"kind": "unknown", "detail": ""}])


@pytest.mark.parametrize(("function", "wrt", "said", "not_said"), FACTS)
def test_facts(function, wrt, said, not_said):
    text = "\n".join(facts_of(function, wrt))
    assert all(words in text for words in said), text
    assert not any(words in text for words in not_said), text


@pytest.mark.parametrize(("function", "wrt", "said", "not_said"), SAID)
def test_what_is_said(function, wrt, said, not_said):
    report = report_on(function, wrt)
    text = "\n".join(sentences(report))
    assert report.verdict == "disagree"
    assert all(words in text for words in said), text
    assert not any(words in text for words in not_said), text
    assert all(line in table(AuditReport("li2024", 0, 20, [report])) for line in report.facts)


@pytest.mark.parametrize("size", [1e-5, 1e-9])
def test_small_noise_is_no_multiple_of_the_gradient(size):
    rng = np.random.default_rng(0)
    cases = bench(li2024, 20, 0).single(False)
    given = {n: size * rng.standard_normal(case.params.W_Q.shape) for n, case in enumerate(cases)}
    judged = Judged("W_Q", cases, given, list(given), li2024.subject)
    assert judged.ratios(judged.expected) is None
    said = "; ".join(plain_facts(judged, [{"kind": "unknown", "detail": ""}]))
    assert said == "not zero on 6 draws where the right gradient is: on those where the hinge is inactive"
    near = {n: case.complex_step("W_Q")[0] * (1 + 1e-8) for n, case in enumerate(cases)}
    assert plain_facts(Judged("W_Q", cases, near, list(near), li2024.subject), []) == []  # "1 times" says nothing


def test_right_formulas_have_no_facts():
    for wrt, function in RIGHT.items():
        report = report_on(function, wrt)
        assert (report.verdict, report.facts, report.mistakes, report.said) == ("agree", [], 0, [])


SEPARATOR = re.compile(
    r"wrong on (?:the )?(\d+)(?: of the (\d+))? draws where (.+?)(?: \(.*?\))?, right on the (\d+) where (.+?)(?: \(|;|$)"
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_separator_is_true_of_every_draw(seed):
    """Against what each draw in hand says: its words hold where it is wrong, and nowhere where it is right and not zero."""
    found = 0
    for factor in (
        lambda p, x: 1 + (x.z > 0),
        lambda p, x: 1 + (score(p, x) > 0),
        lambda p, x: 1 + (x.z * score(p, x) > 0),
    ):
        report = report_on(times(factor), seed=seed)
        match = SEPARATOR.search("; ".join(sentences(report)))
        if match is None:
            continue
        found += 1
        wrong, of, one, right, other = match.groups()
        draws = [report.at(n) for n in range(report.draws)]
        inside, outside = ([d for d in draws if words in d.holds] for words in (one, other))
        assert len(inside) == int(of or wrong) and len(outside) == int(right)
        assert sum(d.wrong for d in inside) == int(wrong) == len(report.wrong_draws)
        assert not any(d.wrong for d in outside)
        assert all(d.wrong or not d.expected.any() for d in inside)
    assert found >= 2


@pytest.mark.slow
def test_few_draws_separate_nothing():
    """Eight draws: two of one kind. What holds on three of them only is said where they are listed, as no reason."""
    assert report_on(without_hinge, "W_V", draws=8).facts == []
    report = report_on(times(lambda p, x: 2.0 if x.z > 0 else 1.0), draws=8)
    assert "z = 1" not in "; ".join(report.facts)
    assert "where z = 1" not in "; ".join(sentences(report))


def of_draws(*words, topic="t"):
    return [{topic: each} for each in words]


@pytest.mark.parametrize(
    ("known", "points", "first", "second", "found"),
    [
        (of_draws(*"aaabbbbbbb"), range(10), [0, 1, 2], [3, 4, 5, 6, 7, 8, 9], [Separator("a", "b", 3, 7)]),
        (of_draws(*"aaabbbbbb"), range(9), [0, 1, 2], [3, 4, 5, 6, 7, 8], []),  # nine in all
        (of_draws(*"aabbbbbbbb"), range(10), [0, 1], [2, 3, 4, 5, 6, 7, 8, 9], []),  # two on a side
        (of_draws(*"aababbbbbb"), range(10), [0, 1, 2], [3, 4, 5, 6, 7, 8, 9], []),  # one on the wrong side
        (of_draws(*"aaabbbbbbb"), [0] * 3 + [1] * 7, [0, 1, 2], [3, 4, 5, 6, 7, 8, 9], []),  # two points
        (
            of_draws(*"aaabbbbbbb"),
            [0, 0, 1, 2, 2, 3, 3, 4, 4, 4],
            [0, 1, 2],
            [*range(3, 10)],
            [Separator("a", "b", 3, 7)],
        ),
        (
            of_draws(*"aaabbbbbbb"),
            [0, 0, 0, 0, 1, 1, 1, 1, 1, 1],
            [0, 1, 2],
            [*range(3, 10)],
            [Separator("a", "b", 3, 7)],
        ),
        (of_draws(*"aacbbbbbbb"), range(10), [0, 1, 2], [*range(3, 10)], [Separator("a or c", "b", 3, 7)]),
        (of_draws(*"acdbbbbbbb"), range(10), [0, 1, 2], [*range(3, 10)], []),  # it says too much
        ([{"t": "a"}] * 3 + [{}] + [{"t": "b"}] * 6, range(10), [0, 1, 2], [*range(3, 10)], []),  # unknown somewhere
    ],
)
def test_separators(known, points, first, second, found):
    assert separators(known, points, first, second) == found


def test_silent_draws_may_be_on_either_side_and_are_counted():
    known = of_draws(*"aaabbbbbbbab")
    assert separators(known, range(12), [0, 1, 2], [*range(3, 10)], [10, 11]) == [Separator("a", "b", 4, 8)]


@pytest.mark.slow
def test_a_gradient_far_below_the_others_is_not_called_zero():
    """On some draws the whole gradient is 1e-14 of a typical one. That is wrong there, and no zero."""

    def scaled(params, prompt):
        return RIGHT["W_Q"](params, prompt) * (1.0 if prompt.z > 0 else 3.0)

    small = li2024.subject.points(20, 0, False)
    points = [
        p._replace(params=p.params._replace(W_V=p.params.W_V * (1e-14 if n % 2 else 1.0))) for n, p in enumerate(small)
    ]
    subject = replace(li2024.subject, points=lambda draws, seed, attends: points)
    report = Bench(subject, 20, 0).audit(Formula(scaled, "given", "W_Q", "", ""))
    for sentence in sentences(report):
        for n in report.wrong_draws:
            assert report.at(n).expected.any() or "should not be zero" not in sentence
        assert "zero on" not in sentence, sentence


# ---- How many mistakes


def test_mistakes_at_once_are_counted_and_said():
    def both(params, prompt):
        return without_hinge(params, prompt) * prompt.z

    report = report_on(both, "W_V")
    assert report.mistakes == 2
    assert report.said[0] == "two mistakes at once:" and len(report.said) == 3
    assert "two mistakes at once: hinge-gate: " in report.in_short and "\n" not in repr(report)
    one = report_on(without_hinge, "W_V")
    assert one.mistakes == 1 and not one.said[0].startswith("two")
    nothing = report_on(times(lambda p, x: 2.0 if x.z > 0 else 1.0))
    assert nothing.mistakes == 0
    turned = report_on(lambda p, x: -2 * RIGHT["W_Q"](p, x).T, "W_Q")
    assert turned.mistakes == 2 and "transpose" in turned.said[-1]


def test_other_explanations_are_told_from_mistakes_at_once():
    a, b, c = ({"kind": "scale", "detail": letter} for letter in "abc")
    assert numbered([[a, b], [c]]) == [a, b, c | {"explanation": "2"}]
    assert numbered([]) == []
    report = report_on(without_hinge, "W_V")
    report.diagnosis, report.mistakes = numbered([[a, b], [a, c]]), 2
    assert report.said == ["two mistakes at once:", "scale: a", "scale: b", "or scale: a", "and scale: c"]


def test_conditions_of_another_paper():
    right = huang2023.formulas["Q"].function
    report = report_on(lambda p, x: right(p, x) * (1.5 if x.z > 0 else 1), "Q", paper=huang2023)
    assert "where z > 0, right on the" in report.said[0]
