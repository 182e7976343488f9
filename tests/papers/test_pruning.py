"""Pruning: orders, pruned parameters, and curves of errors that are those of pruned parameters."""

import draws
import numpy as np
import pytest
from draws import LOSSES, Sizes, assert_close, bounds
from hypothesis import example, given
from hypothesis import strategies as st

import nlicl
from nlicl import Params, forward, loss_and_grad
from nlicl.papers import li2024
from nlicl.papers.li2024 import pruning

dtypes = st.sampled_from([np.float32, np.float64])
attends = st.booleans()
FIGURE = [0, 3, 6, 10, 13, 16, 19, 22, 26]  # neurons removed in the published figure, read off it


def with_norms(norms, m_b=4, seed=0):
    """Parameters whose rows of W_O have these norms."""
    rows = np.random.default_rng(seed).standard_normal((len(norms), m_b))
    rows *= (np.asarray(norms) / np.linalg.norm(rows, axis=1))[:, None]
    return draws.params(Sizes(m=len(norms), m_b=m_b))._replace(W_O=rows)


def errors(score, labels):
    """Hinge loss and 0-1 error by their definitions, a prompt at a time."""
    hinge = [max(0.0, 1 - z * F) for F, z in zip(score.tolist(), labels.tolist(), strict=True)]
    wrong = [np.sign(F) != z for F, z in zip(score, labels, strict=True)]
    return np.mean(hinge), np.mean(wrong)


# ---- Orders


@given(draws.sizes, draws.seeds, st.sampled_from(pruning.ORDERS))
def test_an_order_is_a_permutation(size, seed, how):
    order = pruning.order(draws.params(size, seed), how, seed=seed)
    assert sorted(order.tolist()) == list(range(size.m))


@given(draws.sizes, draws.seeds, dtypes)
def test_magnitudes_ascend_and_descend(size, seed, dtype):
    params = draws.params(size, seed, dtype)
    norms = np.sqrt(np.sum(params.W_O**2, axis=1))
    rising, falling = norms[pruning.order(params)], norms[pruning.order(params, "largest")]
    slack = 4 * np.finfo(dtype).eps * norms.max()
    assert np.all(np.diff(rising) >= -slack) and np.all(np.diff(falling) <= slack)


def test_ties_keep_their_order():
    params = with_norms([1, 1, 1, 1])._replace(W_O=np.ones((4, 4)))
    assert pruning.order(params).tolist() == pruning.order(params, "largest").tolist() == [0, 1, 2, 3]


@given(draws.seeds, st.integers(-20, 20))
def test_orders_and_the_split_do_not_depend_on_scale(seed, power):
    params = draws.params(Sizes(m=20), seed)
    scaled = params._replace(W_O=2.0**power * params.W_O)
    for how in ("magnitude", "largest"):
        assert np.array_equal(pruning.order(params, how), pruning.order(scaled, how))
    assert np.array_equal(pruning.small_neurons(params), pruning.small_neurons(scaled))


def test_the_random_order_depends_on_its_seed_and_on_nothing_else():
    one, other = draws.params(Sizes(m=30), 0), draws.params(Sizes(m=30), 1)
    order = pruning.order(one, "random", seed=5)
    assert np.array_equal(order, pruning.order(other, "random", seed=5))
    several = [5, 6, (5, 0), (5, 1), (5, 0, 0)]
    assert len({tuple(pruning.order(one, "random", seed=seed).tolist()) for seed in several}) == len(several)


def test_every_neuron_is_as_likely_to_go_first():
    m, n = 8, 1000
    params = draws.params(Sizes(m=m))
    first = np.bincount([pruning.order(params, "random", seed=s)[0] for s in range(n)], minlength=m)
    assert np.all(abs(first - n / m) < 5 * np.sqrt(n / m))


def test_fractions_of_the_published_figure():
    fractions = [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]
    assert [pruning.number_removed(f, 64) for f in fractions] == FIGURE
    assert [pruning.number_removed(f, 4) for f in (0, 0.125, 0.375, 1)] == [0, 0, 2, 4]  # halves to the even number


# ---- Pruned parameters


@given(draws.sizes, draws.seeds, dtypes, attends)
def test_pruning_nothing_changes_nothing(size, seed, dtype, query_attends):
    params, prompts = draws.problem(size, seed, dtype, query_attends)
    for nothing in ([], np.zeros(size.m, bool), pruning.order(params)[:0]):
        pruned = pruning.prune(params, nothing)
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(pruned, params, strict=True))
    found = pruning.curve(params, prompts, pruning.order(params), [0])
    hinge, error = errors(forward(params, prompts).score, prompts.labels)
    assert_close(found.hinge, [hinge], bounds(params, prompts).score)
    if np.abs(forward(params, prompts).score).min() > bounds(params, prompts).score:
        assert found.error.tolist() == [error]


@given(draws.sizes, draws.seeds, st.data())
def test_a_pruned_neuron_is_a_deleted_neuron(size, seed, data):
    """Scores and the gradients of what is left are those of the model with m - k neurons."""
    params, prompts = draws.problem(size._replace(m=size.m + 1), seed)
    gone = data.draw(st.sets(st.integers(0, size.m), max_size=size.m))
    left = [i for i in range(size.m + 1) if i not in gone]
    pruned = pruning.prune(params, list(gone))
    deleted = params._replace(W_O=params.W_O[left], a=params.a[left])
    within = bounds(params, prompts)
    assert_close(forward(pruned, prompts).score, forward(deleted, prompts).score, within.score)
    if draws.clear_of_kinks(forward(deleted, prompts), prompts.labels, "hinge"):
        (_, got), (_, want) = loss_and_grad(pruned, prompts), loss_and_grad(deleted, prompts)
        for name in ("W_Q", "W_K", "W_V"):
            assert_close(getattr(got, name), getattr(want, name), getattr(within.grads, name), name)
        assert_close(got.W_O[left], want.W_O, within.grads.W_O)


@given(draws.sizes, draws.seeds, st.sampled_from(LOSSES), dtypes, st.data())
def test_a_pruned_row_stays_pruned(size, seed, loss, dtype, data):
    """u_i = 0 exactly, where relu' is 0: SGD never revives a neuron (the printed indicator, with >= 0, would)."""
    params, prompts = draws.problem(size, seed, dtype)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=size.m, max_size=size.m)))
    pruned = pruning.prune(params, mask)
    assert np.all(pruned.W_O[mask] == 0) and np.array_equal(pruned.W_O[~mask], params.W_O[~mask])
    assert np.all(forward(pruned, prompts).preactivation[:, mask] == 0)
    _, grads = loss_and_grad(pruned, prompts, loss)
    assert np.all(grads.W_O[mask] == 0) and np.all(grads.a[mask] == 0)


@given(draws.sizes, draws.seeds, dtypes, attends)
def test_without_neurons_there_is_no_answer(size, seed, dtype, query_attends):
    """F = 0: the hinge loss is 1, and a score of 0 is an error."""
    params, prompts = draws.problem(size, seed, dtype, query_attends)
    empty = pruning.prune(params, range(size.m))
    assert np.all(forward(empty, prompts).score == 0)
    assert loss_and_grad(empty, prompts)[0] == 1
    found = pruning.curve(params, prompts, pruning.order(params), [size.m])
    assert (found.removed.tolist(), found.hinge.tolist(), found.error.tolist()) == ([size.m], [1.0], [1.0])
    assert np.all(pruning.scores(params, prompts, pruning.order(params), [size.m]) == 0)


def test_prune_copies_what_it_changes():
    params = draws.params(Sizes())
    before = [array.copy() for array in params]
    pruned = pruning.prune(params, [0])
    assert pruned.W_V is params.W_V and pruned.W_O is not params.W_O
    assert all(map(np.array_equal, params, before))
    frozen = params.W_O.copy()
    frozen.flags.writeable = False
    assert pruning.prune(params._replace(W_O=frozen), [1]).W_O[1].tolist() == [0] * 4


# ---- Curves


@example(Sizes(1, 1, 1, 1, 1, 1), 192423, np.float32, False, "magnitude")  # a score below the rounding of 1 - zF
@given(draws.sizes, draws.seeds, dtypes, attends, st.sampled_from(pruning.ORDERS))
def test_a_curve_is_the_errors_of_pruned_parameters(size, seed, dtype, query_attends, how):
    """At every k, by k forward passes of the library instead of one."""
    params, prompts = draws.problem(size, seed, dtype, query_attends)
    order = pruning.order(params, how, seed=seed)
    counts = np.arange(size.m + 1)
    scores = pruning.scores(params, prompts, order, counts)
    found = pruning.curve(params, prompts, order, counts)
    assert scores.shape == (size.m + 1, size.B) and scores.dtype == dtype
    assert np.array_equal(found.removed, counts) and found.hinge.dtype == found.error.dtype == np.float64
    within = bounds(params, prompts).score
    for k in counts:
        score = forward(pruning.prune(params, order[:k]), prompts).score
        assert_close(scores[k], score, within, f"{k} removed")
        hinge, error = errors(score, prompts.labels)
        assert abs(found.hinge[k] - hinge) <= within
        clear = (np.abs(score) > within) | (score == 0) & (scores[k] == 0)
        if clear.all():
            assert found.error[k] == error


def test_counts_come_in_any_order_and_any_number():
    params, prompts = draws.problem(Sizes(B=5, m=9))
    order = pruning.order(params)
    whole = pruning.curve(params, prompts, order, range(10))
    picked = pruning.curve(params, prompts, order, [7, 0, 7])
    assert picked.removed.tolist() == [7, 0, 7]
    assert picked.hinge.tolist() == whole.hinge[[7, 0, 7]].tolist()
    assert pruning.curve(params, prompts, order, []).hinge.shape == (0,)


def test_coded_prompts_are_the_dense_ones():
    problem = li2024.Problem(M1=4, M2=3, d_X=9, d_Y=4, m=10, length=7)
    params, coded = problem.initialize(seed=1), problem.sample(50, seed=2)
    order = pruning.order(params)
    for dtype in (np.float32, np.float64):
        cast = Params(*(array.astype(dtype) for array in params))
        one = pruning.curve(cast, coded, order, range(11))
        other = pruning.curve(cast, coded.dense(dtype), order, range(11))
        assert np.allclose(one.hinge, other.hinge, rtol=0, atol=10 * np.finfo(dtype).eps)
        assert np.array_equal(one.error, other.error)


def test_neurons_of_one_kind_are_known_by_hand():
    """Four neurons of score 1/2, 1/2, -1/4, 0 on the one prompt there is."""
    W = np.array([[0.0]])
    params = Params(W, W, np.array([[1.0]]), np.array([[1.0], [2.0], [0.5], [-1.0]]), np.array([0.5, 0.25, -0.5, 9.0]))
    prompts = nlicl.Prompts(np.array([[[1.0], [1.0]]]), np.array([1.0]))
    assert pruning.order(params).tolist() == [2, 0, 3, 1]
    smallest = pruning.curve(params, prompts, [2, 0, 3, 1], range(5))
    assert pruning.scores(params, prompts, [2, 0, 3, 1], range(5)).ravel().tolist() == [0.75, 1.0, 0.5, 0.5, 0.0]
    assert smallest.hinge.tolist() == [0.25, 0.0, 0.5, 0.5, 1.0] and smallest.error.tolist() == [0, 0, 0, 0, 1]
    worst = pruning.curve(params, prompts, [0, 1, 2, 3], [2])
    assert worst.hinge.tolist() == [1.25] and worst.error.tolist() == [1]


# ---- Small neurons


@given(st.lists(st.floats(0.01, 0.4), max_size=9), st.lists(st.floats(0.9, 1.1), min_size=10, max_size=20))
def test_small_neurons_are_those_below_half_the_median(small, large):
    params = with_norms(small + large)
    expected = [True] * len(small) + [False] * len(large)
    assert pruning.small_neurons(params).tolist() == expected
    assert set(pruning.order(params)[: len(small)].tolist()) == set(range(len(small)))


def test_the_threshold_is_a_factor_of_the_median():
    params = with_norms([1, 2, 3, 4, 5])
    assert pruning.small_neurons(params, 1.01).tolist() == [True, True, True, False, False]
    assert pruning.small_neurons(params, 0.3).tolist() == [False] * 5
    assert pruning.small_neurons(pruning.prune(params, [4]), 0.6).tolist() == [True, False, False, False, True]


# ---- What can go wrong

PARAMS, PROMPTS = draws.problem(Sizes(m=9))
GOOD = np.arange(9)
BAD = [
    (lambda: pruning.order(PARAMS, "smallest"), ValueError, ["how is 'smallest'", "'magnitude', 'largest', 'random'"]),
    (lambda: pruning.order(PARAMS, 5), ValueError, ["how is 5"]),
    (lambda: pruning.order(PARAMS, "random", seed=-1), ValueError, ["seed is -1", "at least 0"]),
    (lambda: pruning.order(PARAMS, "random", seed=1.5), TypeError, ["seed is 1.5", "integer"]),
    (lambda: pruning.order(PARAMS.W_O), TypeError, ["params is a ndarray", "nlicl.Params"]),
    (lambda: pruning.order(PARAMS._replace(W_O=PARAMS.W_O.T)), ValueError, ["params.W_O", "(m, m_b)"]),
    (lambda: pruning.number_removed(1.5, 64), ValueError, ["fraction is 1.5", "from 0 to 1"]),
    (lambda: pruning.number_removed(-0.1, 64), ValueError, ["fraction is -0.1"]),
    (lambda: pruning.number_removed(float("nan"), 64), ValueError, ["fraction is nan"]),
    (lambda: pruning.number_removed("10%", 64), TypeError, ["fraction is '10%'"]),
    (lambda: pruning.prune(PARAMS, [9]), ValueError, ["neurons holds integers from 9 to 9", "m - 1 = 8"]),
    (lambda: pruning.prune(PARAMS, [-1, 3]), ValueError, ["neurons holds integers from -1 to 3", "0 to m - 1 = 8"]),
    (lambda: pruning.prune(PARAMS, [0.5]), ValueError, ["neurons", "float64", "list of integers"]),
    (lambda: pruning.prune(PARAMS, 3), ValueError, ["neurons has shape ()", "list of integers"]),
    (lambda: pruning.prune(PARAMS, [[1, 2]]), ValueError, ["neurons has shape (1, 2)"]),
    (lambda: pruning.prune(PARAMS, np.ones(8, bool)), ValueError, ["mask of shape (8,)", "(9,)"]),
    (lambda: pruning.small_neurons(PARAMS, 0), ValueError, ["threshold is 0", "greater than 0"]),
    (lambda: pruning.small_neurons(PARAMS, np.nan), ValueError, ["threshold is nan"]),
    (lambda: pruning.curve(PARAMS, PROMPTS, GOOD[:5], [0]), ValueError, ["neurons has 5 entries", "permutation", "order"]),
    (lambda: pruning.curve(PARAMS, PROMPTS, [0, *GOOD[:-1]], [0]), ValueError, ["neurons has 9 entries, 8", "different"]),
    (lambda: pruning.curve(PARAMS, PROMPTS, [], [0]), ValueError, ["neurons has 0 entries"]),
    (lambda: pruning.curve(PARAMS, PROMPTS, GOOD, [10]), ValueError, ["counts holds integers from 10 to 10", "m = 9"]),
    (lambda: pruning.curve(PARAMS, PROMPTS, GOOD, [-1]), ValueError, ["counts", "0 to m = 9"]),
    (lambda: pruning.curve(PARAMS, PROMPTS, GOOD, [0.5]), ValueError, ["counts", "float64", "integers"]),
    (lambda: pruning.curve(PARAMS, PROMPTS, GOOD, 3), ValueError, ["counts has shape ()", "list of integers"]),
    (lambda: pruning.curve(PARAMS, PROMPTS.tokens, GOOD, [0]), TypeError, ["prompts is a ndarray"]),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), BAD)
def test_errors_say_what_was_given_and_what_was_expected(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
