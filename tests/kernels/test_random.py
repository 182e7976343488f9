"""Random numbers in compiled code: NumPy's own, to the bit, whatever the key and however many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlicl.core.seeds import Li2024, key
from nlicl.kernels import random, sampling
from nlicl.kernels.vectors import integers
from nlicl.papers import li2024

keys = st.lists(st.integers(0, 2**20) | st.integers(0, 2**130), min_size=1, max_size=7)
halves = st.integers(0, 2**64 - 1).map(np.uint64)


def generator(entropy):
    found = np.empty(4, np.uint64)
    random.seed(found, random.words(entropy))
    return found


@given(keys, st.lists(st.integers(0, 23) | st.integers(60, 300), max_size=4))
def test_a_generator_is_numpys(entropy, sizes):
    """However its numbers are spread over calls. NumPy leaves out zeros at the end of a key; so does this."""
    got, want = generator(entropy), np.random.PCG64(np.random.SeedSequence(entropy))
    for size in sizes:
        bits = np.empty(size, np.uint64)
        random.fill(bits, got)
        np.testing.assert_array_equal(bits, want.random_raw(size))


@given(halves, halves, halves, halves, halves, halves)
def test_128_bits(a, b, c, d, e, f):
    """Compiled, it is one multiplication; as plain Python, that of integers without an end."""
    x, y, z = (int(high) << 64 | int(low) for high, low in ((a, b), (c, d), (e, f)))
    high, low = product(a, b, c, d, e, f)
    assert int(high) << 64 | int(low) == (x * y + z) % 2**128


@random.kernel
def product(a, b, c, d, e, f):
    return integers.times_plus(a, b, c, d, e, f)


@given(
    keys,
    st.integers(1, 2**32 - 1) | st.integers(2, 40) | st.integers(2**31, 2**31 + 9),
    st.integers(1, 30),
    st.integers(0, 9),
)
def test_integers_are_numpys(entropy, k, n, made):
    """Also where many are thrown away, as just above 2^31; and what comes after them goes on where NumPy goes on."""
    rng, got = np.random.default_rng(entropy), generator(entropy)
    bits = np.empty(max(made, 1), np.uint64)
    random.fill(bits[:made], got)
    numbers, coins = np.empty(n, np.int64), np.empty(n, np.int64)
    count, at = random.below(numbers, k, bits, made, 0, got)
    count, at = random.below(coins, 2, bits, count, at, got)
    np.testing.assert_array_equal(numbers, rng.integers(k, size=n))
    np.testing.assert_array_equal(coins, rng.integers(2, size=n))
    if at + 1 >= 2 * count:  # no more was made than was used
        random.fill(bits[:1], got)
        assert random.uniform(bits[0]) == rng.random()


@given(
    st.integers(0, 2**70), st.integers(0, 2**33), st.integers(1, 9), st.integers(1, 60), st.integers(2, 8), st.integers(1, 22),
    st.floats(0.01, 1), st.just(0.0) | st.floats(1e-3, 2), st.sampled_from(["train", "all"]),
)  # fmt: skip
def test_prompts_are_decoded_from_numpys_numbers(seed, t, n, length, M1, M2, alpha, K, tasks):
    """`draw` against `decode` on what NumPy draws: the integers are the same, and kappa to rounding."""
    problem = li2024.Problem(M1=M1, M2=M2, K=K, alpha=1.0 if M1 == 2 else alpha, length=length)
    got = problem.sample(n, seed=(seed, t), tasks=tasks)
    rng = np.random.default_rng(key(Li2024.PROMPTS, (seed, t)))
    pairs = np.array(problem.tasks(tasks))
    task, z = pairs[rng.integers(len(pairs), size=n)], rng.choice([1, -1], size=n)
    want = [np.empty((n, length + 1), dtype) for dtype in (np.int32, np.int32, float, np.int8)]
    sampling.decode(*want, rng.random((n, length + 1, 2)), task, z, problem.alpha, M1, M2, problem.K)
    for name, array in zip(("relevant", "irrelevant", "sign"), (want[0], want[1], want[3]), strict=True):
        np.testing.assert_array_equal(getattr(got, name), array, err_msg=name)
    np.testing.assert_allclose(got.kappa, want[2], rtol=0, atol=1e-15 * max(K, 1) * M2)
    np.testing.assert_array_equal(got.labels, z)


@pytest.mark.parametrize("seed", [0, (3, 7), (2**40, 5), (2**70 + 3, 1, 2**33)])
def test_prompts_of_a_seed_stay_what_they_were(seed):
    """Numbers from before there was `draw`."""
    x = li2024.Problem().sample(2, length=3, seed=seed)
    assert (x.relevant.tolist(), x.irrelevant.tolist(), x.sign.tolist(), x.labels.tolist()) == BEFORE[seed]


BEFORE = {
    0: ([[4, 0, 3, 3], [1, 1, 1, 2]], [[9, 6, 16, 25], [20, 13, 6, 26]], [[-1, 1, 1, 0], [1, 1, 1, 0]], [1.0, -1.0]),
    (3, 7): (
        [[1, 1, 2, 3], [0, 5, 5, 0]],
        [[8, 10, 11, 27], [18, 16, 26, 17]],
        [[-1, 1, 1, 0], [-1, 1, 1, 0]],
        [-1.0, -1.0],
    ),
    (1099511627776, 5): (
        [[1, 1, 1, 1], [3, 2, 4, 2]],
        [[13, 8, 26, 18], [28, 12, 27, 26]],
        [[1, 1, 1, 0], [-1, 1, 1, 0]],
        [1.0, 1.0],
    ),
    (1180591620717411303427, 1, 8589934592): (
        [[3, 3, 3, 4], [4, 4, 5, 4]],
        [[25, 18, 15, 8], [19, 6, 13, 12]],
        [[1, 1, 1, 0], [-1, -1, -1, 0]],
        [-1.0, -1.0],
    ),
}
