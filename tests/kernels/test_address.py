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


TOKENS = """
import numpy as np
from nlicl.kernels import compile, products
from nlicl.kernels.steps import dictionary
found = dictionary.tokens_of(np.ones((2, 3)), np.array([0, 2]), np.ones((3, 2)), 4)
kept = sorted(path.name.rsplit("-", 1)[0].rpartition(".")[2] for path in compile.cache_folder().rglob("*.nbc"))
hits = [sum(kernel.stats.cache_hits.values()) for kernel in (dictionary.tokens_of, products.add_product)]
print(*found[1], *kept, *hits)
"""


@pytest.mark.compiled
def test_what_is_called_within_a_kernel_that_is_inside_is_known_to_the_next_process(tmp_path):
    """`tokens_of` has `put_product` inside, of which nothing is kept, and that calls `add_product`, which is apart."""
    first, second = (python(TOKENS, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert first == "3.0 0.0 3.0 0.0 add_product tokens_of 0 0"
    assert second == "3.0 0.0 3.0 0.0 add_product tokens_of 1 1"


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
