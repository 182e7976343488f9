"""Kernels apart from those that call them."""

import pytest
from child import python

APART = """
import numpy as np
from nlicl.kernels import products
from nlicl.kernels.layers import mlp
U, F = np.empty((2, 3)), np.empty(2)
mlp.forward(U, F, np.ones((2, 4)), np.ones((4, 3)), np.ones(3))
hits = [sum(kernel.stats.cache_hits.values()) for kernel in (mlp.forward, products.add_product)]
print(F[0], len(products.add_product.signatures), *hits)
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_a_caller_from_the_cache_brings_the_kernel_that_it_calls(tmp_path):
    """Its own code has but the other's name, which is nowhere in a process that has not asked for it."""
    first, second = (python(APART, NUMBA_CACHE_DIR=str(tmp_path)).split() for _ in range(2))
    assert first == ["12.0", "1", "0", "0"]
    assert second == ["12.0", "1", "1", "1"]


MERGED = """
import numpy as np
from nlicl.kernels.steps.dictionary import merge, without_zero_rows
support, E, _ = without_zero_rows(np.eye(4))
print(merge(support, E, *[np.ones((4, 4))] * 4)[2].sum())
"""
WATCHED = """
import nlicl
from nlicl.papers import li2024
print(nlicl.train(li2024.Problem(batch=4, steps=1), measure=1).history["hinge_unseen"][0])
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_what_a_kernel_from_the_cache_calls_is_known_to_those_that_have_it_inside(tmp_path):
    """`watch_alone` has `merge` inside, which calls kernels that are apart. The first process keeps `merge`; the second one
    takes it from the cache and keeps `watch_alone`; the third one takes that from the cache, alone."""
    python(MERGED, NUMBA_CACHE_DIR=str(tmp_path))
    first, second = (python(WATCHED, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert first == second


@pytest.mark.slow
@pytest.mark.compiled
def test_a_number_that_is_written_in_a_call_is_compiled_for_as_any_other(tmp_path):
    code = """
import numpy as np
from nlicl.kernels import atomics
from nlicl.kernels.compile import kernel
@kernel
def call(state):
    return atomics.wait(state, 0, 2)
state = np.full(2, 2, np.int64)
print(call(state), atomics.wait(state, 1, 2), len(atomics.wait.signatures))
"""
    assert python(code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["True", "True", "1"]
