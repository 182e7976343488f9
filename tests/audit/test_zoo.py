"""Verdicts on the zoo of common losses: right gradients never disagree, systematic mistakes never agree."""

import numpy as np
import pytest
from losses import LOSSES, differs, each, wrongs

import nlicl

KINDS = {"float64": (np.float64, False), "float32": (np.float32, False), "cast to float32": (np.float32, True)}


def difference(f):
    """f'(0) from central differences at three steps, extrapolated: independent of the library's own."""
    rows = [(f(h) - f(-h)) / (2 * h) for h in (2e-4, 1e-4, 5e-5)]
    rows = [(4 * rows[1] - rows[0]) / 3, (4 * rows[2] - rows[1]) / 3]
    return (16 * rows[1] - rows[0]) / 15


@pytest.mark.parametrize("name", LOSSES)
def test_the_zoos_right_gradients_are_right(name):
    for seed in range(2):
        loss, gradient, x = LOSSES[name].make(np.random.default_rng(seed))
        arrays, parts = each(x), each(gradient(*each(x)))
        rng = np.random.default_rng(seed + 100)
        for _ in range(4):
            v = [rng.standard_normal(a.shape) for a in arrays]
            norm = np.sqrt(sum((b * b).sum() for b in v))
            v = [b / norm for b in v]
            found = difference(lambda t, v=v: float(loss(*(a + t * b for a, b in zip(arrays, v, strict=True)))))  # noqa: B023
            expected = sum((g * b).sum() for g, b in zip(parts, v, strict=True))
            assert abs(found - expected) < 1e-7 * max(1, abs(expected))


@pytest.mark.parametrize("name", LOSSES)
def test_the_zoo_keeps_its_dtype_and_has_mistakes_enough(name):
    loss, gradient, x = LOSSES[name].make(np.random.default_rng(0), np.float32)
    value, parts = loss(*each(x)), each(gradient(*each(x)))
    assert {np.asarray(a).dtype for a in (value, *parts, *each(x))} == {np.dtype(np.float32)}
    names = [name for name, *_ in wrongs(LOSSES[name], 0)]
    assert len(names) == len(set(names)) >= 20
    assert len(LOSSES[name].slips()) >= 4
    assert len(list(wrongs(LOSSES[name], 0, np.float32))) >= 20
    assert not differs(parts, parts, np.float32)


def judge_right(name, kind, seed):
    dtype, cast = KINDS[kind]
    report = nlicl.audit_gradient(*LOSSES[name].make(np.random.default_rng(seed), dtype, cast=cast))
    assert report.verdict == "agree" or (kind != "float64" and report.verdict == "undetermined"), (
        f"seed {seed}\n{report}"
    )


def judge_wrong(name, kind, seed, every=1):
    dtype, cast = KINDS[kind]
    for mistake, *case in list(wrongs(LOSSES[name], seed, dtype, cast))[seed % every :: every]:
        report = nlicl.audit_gradient(*case)
        assert report.verdict != "agree", f"{mistake}, seed {seed}\n{report}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_right_gradients(name, kind):
    judge_right(name, kind, seed=1)


@pytest.mark.parametrize("number", range(len(LOSSES)))
def test_wrong_gradients(number):
    """A few mistakes of each loss, in one of the kinds of numbers."""
    judge_wrong(list(LOSSES)[number], list(KINDS)[number % len(KINDS)], seed=number, every=12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_many_right_gradients(name, kind):
    for seed in range(100, 104):
        judge_right(name, kind, seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_more_mistakes(name, kind):
    """Another eighth of them for each kind of numbers."""
    judge_wrong(name, kind, seed=100 + list(KINDS).index(kind), every=8)
