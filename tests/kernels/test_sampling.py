"""Sampling: the compiled decoder is its naive twin, its numbers are uniform, and what it draws depends on the seed alone."""

import dataclasses

import naive
import numpy as np
import pytest
from child import python
from draws import seeds
from hypothesis import given
from hypothesis import strategies as st

from nlicl import CodedPrompts
from nlicl.kernels.sampling import decode
from nlicl.papers import li2024

LAST = np.nextafter(1.0, 0.0)  # the largest number below 1


def decoded(uniform, task, z, alpha, M1, M2, K):
    shape = uniform.shape[:2]
    codes = np.empty(shape, np.int32), np.empty(shape, np.int32), np.empty(shape), np.empty(shape, np.int8)
    decode(*codes, uniform, task, z, alpha, M1, M2, K)
    return codes


@given(st.integers(2, 9), st.integers(1, 30), st.floats(0.01, 1), st.floats(0, 2), seeds)
def test_decoding_is_the_naive_loop(M1, M2, alpha, K, seed):
    rng = np.random.default_rng(seed)
    alpha = 1.0 if M1 == 2 else alpha
    uniform = rng.random((5, 7, 2))
    task = np.array([rng.permutation(M1)[:2] for _ in range(5)])
    z = rng.choice([1, -1], 5)
    got = np.array([array.astype(float) for array in decoded(uniform, task, z, alpha, M1, M2, K)])
    want = np.array(naive.decode(uniform.tolist(), task.tolist(), z.tolist(), alpha, M1, M2, K))
    np.testing.assert_allclose(np.moveaxis(got, 0, -1), want, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("M2", [1, 3, 24, 49])
def test_the_largest_number_is_still_a_pattern(alpha, M2):
    """Rounding must not push an index past its end."""
    uniform = np.full((1, 3, 2), LAST)
    relevant, irrelevant, kappa, sign = decoded(uniform, np.array([[4, 1]]), np.array([-1]), alpha, 6, M2, 0.5)
    assert relevant[0].tolist() == ([1, 1, 1] if alpha == 1 else [5, 5, 1])
    assert sign[0].tolist() == [-1, -1, 0]
    assert (irrelevant == 6 + M2 - 1).all() and (abs(kappa) <= 0.5).all()


def test_what_is_left_of_a_number_is_uniform_and_independent():
    """kappa uses what the irrelevant pattern leaves, a coin what the other pattern leaves: tested against each other."""
    from scipy.stats import chi2_contingency, kstest

    x = li2024.Problem().sample(40_000, length=5, alpha=0.3, seed=2)
    context = np.s_[:, :-1]
    kappa, irrelevant, sign = (array[context].ravel() for array in (x.kappa, x.irrelevant, x.sign))
    assert kstest(kappa, "uniform", args=(-0.5, 1)).pvalue > 1e-4
    for pattern in (6, 29):
        assert kstest(kappa[irrelevant == pattern], "uniform", args=(-0.5, 1)).pvalue > 1e-4
    table = np.array([np.bincount(irrelevant[sign == s] - 6, minlength=24) for s in (-1, 1)])
    assert chi2_contingency(table).pvalue > 1e-4
    relevant = x.relevant[context].ravel()
    one = x.relevant[:, :1] == x.relevant[:, 1:2]  # neighbours know nothing of each other but the task
    assert abs(one.mean() - (2 * 0.15**2 + 4 * 0.175**2)) < 0.005
    assert np.abs(np.bincount(relevant, minlength=6) / relevant.size - 1 / 6).max() < 0.004


BITS = """
import hashlib
from nlicl.papers import li2024
x = li2024.Problem().sample(300, seed=(3, 7))
names = ("relevant", "irrelevant", "kappa", "sign", "labels")
print(hashlib.sha256(b"".join(getattr(x, k).tobytes() for k in names)).hexdigest())
"""


def test_the_same_seed_the_same_prompts_on_any_number_of_threads():
    assert len({python(BITS, NUMBA_NUM_THREADS=n) for n in ("1", "3")}) == 1


@given(st.integers(0, 10**6), st.sampled_from(["iid", "at-least"]), st.booleans())
def test_what_the_sampler_makes_passes_the_checks_it_skips(seed, sampling, ood):
    problem = li2024.Problem().out_of_domain() if ood else li2024.Problem()
    made = problem.sample(7, seed=seed, sampling=sampling, tasks="all")
    again = CodedPrompts(**{field.name: getattr(made, field.name) for field in dataclasses.fields(made)})
    for name in ("dictionary", "relevant", "irrelevant", "kappa", "sign", "labels"):
        one, other = getattr(made, name), getattr(again, name)
        assert one.dtype == other.dtype and not one.flags.writeable
        np.testing.assert_array_equal(one, other)
    problem.dictionary[:] = 0  # is the caller's own
    assert problem.sample(1).dictionary.any()
