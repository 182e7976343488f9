"""Mends of papers' formulas, in the ways an appendix gets them wrong; held against the paper's own on fresh prompts."""

# ruff: noqa: RUF059 (a forward pass returns more than a formula uses)

import re

import numpy as np
import pytest
from mending import texts_fit

import nlicl
from nlicl.papers import li2024


def forward(params, prompt):
    """attn, h = sum_s attn_s p_s, u = W_O W_V h and g = -z 1[1 - z F > 0]."""
    P, q = prompt.keys, prompt.query
    scores = (params.W_K @ P).T @ (params.W_Q @ q)
    attn = np.exp(scores - np.max(scores))
    attn = attn / np.sum(attn)
    h = P @ attn
    u = params.W_O @ params.W_V @ h
    F = params.a @ np.maximum(u, 0)
    g = -prompt.z if 1 - prompt.z * F > 0 else 0.0
    return attn, h, u, g


def transposed_query_matrix(params, prompt):
    attn, h, u, g = forward(params, prompt)
    P, q = prompt.keys, prompt.query
    c = P.T @ (params.W_V.T @ (params.W_O.T @ (params.a * (u > 0))))
    mean = P @ attn
    return g * np.outer(params.W_Q.T @ q, (P - mean[:, None]) @ (attn * c))


def mean_term_missing(params, prompt):
    attn, h, u, g = forward(params, prompt)
    P, q = prompt.keys, prompt.query
    c = P.T @ (params.W_V.T @ (params.W_O.T @ (params.a * (u > 0))))
    return g * np.outer(params.W_Q @ q, P @ (attn * c))


def relu_for_its_indicator(params, prompt):
    attn, h, u, g = forward(params, prompt)
    r = np.maximum(u, 0)
    return g * np.outer(params.W_O.T @ (params.a * r), h)


def output_weight_missing(params, prompt):
    attn, h, u, g = forward(params, prompt)
    gate = u > 0
    return g * np.outer(params.W_O.T @ gate, h)


def label_missing(params, prompt):
    attn, h, u, g = forward(params, prompt)
    active = g != 0
    return -active * np.outer(params.a * (u > 0), params.W_V @ h)


def output(params, prompt):
    attn, h, u, _ = forward(params, prompt)
    return np.maximum(u, 0)


def hinge_missing(params, prompt):
    z, r = prompt.z, output(params, prompt)
    return -z * r


def gate_missing(params, prompt):
    attn, h, u, g = forward(params, prompt)
    return g * u


def order_of_the_outer_product(params, prompt):
    attn, h, u, g = forward(params, prompt)
    return g * np.outer(params.a * (u > 0), params.W_V @ prompt.query)


def sign(params, prompt):
    attn, h, u, g = forward(params, prompt)
    return -g * np.maximum(u, 0)


def two_mistakes(params, prompt):
    attn, h, u, g = forward(params, prompt)
    r = np.maximum(u, 0)
    return -np.outer(params.W_O.T @ (params.a * r), h) * g


FORMULAS = [
    (transposed_query_matrix, "W_K"),
    (relu_for_its_indicator, "W_V"),
    (hinge_missing, "a"),
    (gate_missing, "a"),
    (sign, "a"),
]
MORE = [
    (output_weight_missing, "W_V"),
    (label_missing, "W_O"),
    (mean_term_missing, "W_K"),
    (order_of_the_outer_product, "W_O"),
    (two_mistakes, "W_V"),
]


def right(wrt, params, prompt):
    return li2024.formulas[wrt](params, prompt)


def places(wrt):
    """Parameters and prompts that the audit draws at another seed."""
    seen = []

    def look(params, prompt):
        seen.append((params, prompt))
        return right(wrt, params, prompt)

    nlicl.audit_formula(look, wrt=wrt, draws=20, seed=77, query_attends=True)
    return seen


def mended(wrong, wrt, draws):
    report = nlicl.audit_formula(wrong, wrt=wrt, draws=draws, query_attends=True, mend=60)
    assert report.verdict == "disagree"
    repaired, mending = report.mended(), report.searches[0].mending()
    assert repaired is not None, mending.note
    drawn = places(wrt)
    assert len(drawn) >= 20
    for repair in mending.repairs:
        texts_fit(repair, wrong)
        told = re.fullmatch(f"on all {draws} draws, and on ([0-9]+) fresh ones", repair.agrees)
        assert 50 <= int(told[1]) <= 200
        for params, prompt in drawn:
            expected = right(wrt, params, prompt)
            assert np.allclose(repair.function(params, prompt), expected, rtol=1e-8, atol=1e-10)
    assert str(report).count(mending.repairs[0].agrees)
    return mending.repairs[0]


@pytest.mark.parametrize(("wrong", "wrt"), [pytest.param(*each, id=each[0].__name__) for each in FORMULAS])
def test_a_formula_is_mended(wrong, wrt):
    mended(wrong, wrt, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("wrong", "wrt"), [pytest.param(*each, id=each[0].__name__) for each in MORE])
def test_a_harder_formula_is_mended(wrong, wrt):
    mended(wrong, wrt, 20)


def test_a_formula_without_a_source():
    scope = {"np": np}
    exec("def typed(params, prompt):\n    return 2 * params.a\n", scope)
    report = nlicl.audit_formula(scope["typed"], wrt="a", draws=2, query_attends=True, mend=2)
    assert report.mended() is None
    assert report.searches[0].mending().note == "the source of typed cannot be read"
