"""The mathematics of the model as properties of the public functions: what must hold for every problem.

Each identity needs no second implementation, so that none of these tests can share a mistake with the code.
Tolerances are those of tests/draws.py: eps times the size of the numbers that were added up.
"""

import numpy as np
import pytest
from draws import (
    Sizes,
    assert_close,
    assert_grads_close,
    bounds,
    clear_of_kinks,
    losses,
    problem,
    seeds,
    sizes,
)
from hypothesis import assume, given
from hypothesis import strategies as st

import nlicl
from nlicl import Params, Prompts

dtypes = st.sampled_from([np.float32, np.float64])
attends = st.booleans()


def rotation(rng, n):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def smooth(p, x, loss="hinge"):
    """Skip the rare draw whose neurons or hinges rounding could switch; returns the forward pass."""
    out = nlicl.forward(p, x)
    assume(clear_of_kinks(out, x.labels, loss))
    return out


def assert_same_gradients(p, x, q, y, loss, tol, expected=lambda grads: grads):
    """loss_and_grad(q, y) is that of (p, x), the gradients after the transformation `expected`."""
    want, grads = nlicl.loss_and_grad(p, x, loss)
    got, new = nlicl.loss_and_grad(q, y, loss)
    assert_close(got, want, tol.score * (1 + want), "loss")
    assert_grads_close(new, expected(grads), tol.grads)


# ---------------------------------------------------------------- attention


@given(sizes, dtypes, attends, seeds)
def test_attention_is_a_distribution(size, dtype, query_attends, seed):
    p, x = problem(size, seed, dtype, query_attends)
    out = nlicl.forward(p, x)
    assert out.attention.shape == (size.B, size.l + query_attends)
    assert (out.attention >= 0).all()
    assert_close(out.attention.sum(1), np.ones(size.B), 8 * np.finfo(dtype).eps)
    keys = x.tokens[:, : size.l + query_attends]
    assert_close(out.context, np.einsum("bi,bid->bd", out.attention, keys), bounds(p, x).context)


@given(sizes, st.floats(-50, 50), seeds)
def test_a_common_shift_of_the_scores_changes_nothing(size, shift, seed):
    """A coordinate that is 1 in every token, and that W_K (its last row) lets meet a query coordinate `shift`, adds
    `shift` to every score; values do not see it. Attention, score and all other gradients stay what they were."""
    p, x = problem(size, seed)
    smooth(p, x)
    ones = np.ones((*x.tokens.shape[:2], 1))
    y = Prompts(np.concatenate([x.tokens, ones], 2), x.labels)
    extra = lambda W: np.pad(W, ((0, 1), (0, 1)))  # noqa: E731
    q = p._replace(W_Q=extra(p.W_Q), W_K=extra(p.W_K), W_V=np.pad(p.W_V, ((0, 0), (0, 1))))
    q.W_Q[-1, -1], q.W_K[-1, -1] = shift, 1.0
    tol = bounds(q, y)
    before, after = nlicl.forward(p, x), nlicl.forward(q, y)
    assert_close(after.attention, before.attention, tol.attention)
    assert_close(after.score, before.score, tol.score)
    _, grads = nlicl.loss_and_grad(p, x)
    _, new = nlicl.loss_and_grad(q, y)
    cut = Params(new.W_Q[:-1, :-1], new.W_K[:-1, :-1], new.W_V[:, :-1], new.W_O, new.a)
    assert_grads_close(cut, grads, tol.grads)
    # No gradient pulls at a common shift: sum_i ds_i = 0.
    assert_close(new.W_K[:, -1], np.zeros(len(q.W_K)), tol.grads.W_K)
    assert_close(new.W_Q[-1], np.zeros(q.W_Q.shape[1]), tol.grads.W_Q)


@given(sizes, dtypes, losses, attends, seeds)
def test_permuting_contexts_permutes_attention_only(size, dtype, loss, query_attends, seed):
    p, x = problem(size, seed, dtype, query_attends)
    smooth(p, x, loss)
    order = np.append(np.random.default_rng(seed).permutation(size.l), size.l)
    y = Prompts(x.tokens[:, order], x.labels, query_attends)
    tol = bounds(p, x)
    before, after = nlicl.forward(p, x), nlicl.forward(p, y)
    assert_close(after.attention, before.attention[:, order[: size.l + query_attends]], tol.attention)
    assert_same_gradients(p, x, p, y, loss, tol)


@given(sizes, losses, seeds)
def test_the_query_that_attends_is_one_more_context(size, loss, seed):
    p, x = problem(size, seed, query_attends=True)
    smooth(p, x, loss)
    y = Prompts(np.concatenate([x.tokens, x.tokens[:, -1:]], 1), x.labels)
    assert_close(nlicl.forward(p, y).attention, nlicl.forward(p, x).attention, bounds(p, x).attention)
    assert_same_gradients(p, x, p, y, loss, bounds(p, x))


@given(sizes, losses, seeds, st.integers(2, 4))
def test_repeating_every_context_changes_no_score(size, loss, seed, times):
    """Copies share the attention of their original: attn / times each."""
    p, x = problem(size, seed)
    smooth(p, x, loss)
    y = Prompts(np.concatenate([np.repeat(x.tokens[:, :-1], times, 1), x.tokens[:, -1:]], 1), x.labels)
    tol = bounds(p, y)
    want = np.repeat(nlicl.forward(p, x).attention, times, 1) / times
    assert_close(nlicl.forward(p, y).attention, want, tol.attention)
    assert_same_gradients(p, x, p, y, loss, tol)


@given(sizes, dtypes, losses, seeds)
def test_one_context_has_all_the_attention(size, dtype, loss, seed):
    """l = 1: attention is 1 whatever the parameters, so W_Q and W_K have no gradient."""
    size = size._replace(l=1)
    p, x = problem(size, seed, dtype)
    smooth(p, x, loss)
    np.testing.assert_array_equal(nlicl.forward(p, x).attention, 1)
    _, grads = nlicl.loss_and_grad(p, x, loss)
    tol = bounds(p, x).grads
    assert_close(grads.W_Q, np.zeros_like(p.W_Q), tol.W_Q)
    assert_close(grads.W_K, np.zeros_like(p.W_K), tol.W_K)


# ---------------------------------------------------------------- linearity and scaling


@given(sizes, st.floats(-3, 3), seeds)
def test_score_is_linear_in_a(size, c, seed):
    p, x = problem(size, seed)
    b = np.random.default_rng(seed).normal(size=size.m)
    score = lambda a: nlicl.forward(p._replace(a=a), x).score  # noqa: E731
    tol = bounds(p._replace(a=np.abs(p.a) + 3 * np.abs(b)), x).score
    assert_close(score(p.a + c * b), score(p.a) + c * score(b), tol)


@given(sizes, st.floats(0.1, 10), seeds)
def test_score_is_homogeneous_in_W_O_and_W_V(size, c, seed):
    """relu(c u) = c relu(u) for c > 0: F is of degree 1 in each, as it is linear on an activation pattern."""
    p, x = problem(size, seed)
    want = c * nlicl.forward(p, x).score
    for name in ("W_O", "W_V"):
        q = p._replace(**{name: c * getattr(p, name)})
        assert_close(nlicl.forward(q, x).score, want, bounds(q, x).score)


@given(sizes, st.sampled_from(["W_O", "W_V"]), seeds)
def test_score_is_linear_on_an_activation_pattern(size, name, seed):
    """F(W + D) - F(W) = <dF/dW, D> exactly as long as no pre-activation changes its sign. With the squared loss
    and label z, dL = (F - z) dF, which gives dF of one prompt from loss_and_grad."""
    p, x = problem(size._replace(B=1), seed)
    out = smooth(p, x)
    assume(abs(out.score[0] - x.labels[0]) > 1e-2)
    D = np.random.default_rng(seed).normal(size=getattr(p, name).shape)
    change = np.abs(nlicl.forward(p._replace(**{name: D}), x).preactivation)
    D *= 0.9 / max(1.0, (change / np.abs(out.preactivation)).max())
    q = p._replace(**{name: getattr(p, name) + D})
    _, grads = nlicl.loss_and_grad(p, x, "squared")
    dF = getattr(grads, name) / (out.score[0] - x.labels[0])
    tol = 200 * bounds(q, x).score  # dF is a gradient divided by a number of 1e-2 at least
    assert_close(nlicl.forward(q, x).score[0] - out.score[0], np.vdot(dF, D), tol)


@given(sizes, losses, st.floats(0.1, 10), st.booleans(), seeds)
def test_what_one_factor_gains_the_other_loses(size, loss, c, of_attention, seed):
    """F sees W_Q, W_K and W_O, W_V through their products only: (c W_Q, W_K / c) has the same F, and gradients
    (dW_Q / c, c dW_K). So too for (c W_O, W_V / c)."""
    p, x = problem(size, seed)
    smooth(p, x, loss)
    left, right = ("W_Q", "W_K") if of_attention else ("W_O", "W_V")

    def scaled(params, c):
        return params._replace(**{left: getattr(params, left) * c, right: getattr(params, right) / c})

    q = scaled(p, c)
    most = Params(*map(max, bounds(q, x).grads, scaled(bounds(p, x).grads, 1 / c)))
    tol = bounds(q, x)._replace(grads=most)
    assert_same_gradients(p, x, q, x, loss, tol, lambda grads: scaled(grads, 1 / c))


@given(sizes, st.booleans(), seeds)
def test_an_invertible_matrix_between_the_factors_cancels(size, of_attention, seed):
    """(A W_Q, A^-T W_K) and (W_O A^-1, A W_V) give the same scores, for every invertible A."""
    p, x = problem(size, seed)
    rng = np.random.default_rng(seed)
    n = size.m_a if of_attention else size.m_b
    A = rotation(rng, n) @ np.diag(rng.uniform(0.5, 2, n)) @ rotation(rng, n)  # condition number at most 4
    inverse = np.linalg.inv(A)
    q = (
        p._replace(W_Q=A @ p.W_Q, W_K=inverse.T @ p.W_K)
        if of_attention
        else p._replace(W_V=A @ p.W_V, W_O=p.W_O @ inverse)
    )
    assert_close(nlicl.forward(q, x).score, nlicl.forward(p, x).score, bounds(q, x).score * 4)


# ---------------------------------------------------------------- batches and labels


@given(sizes, dtypes, losses, attends, seeds)
def test_a_batch_is_the_mean_of_its_prompts(size, dtype, loss, query_attends, seed):
    p, x = problem(size, seed, dtype, query_attends)
    smooth(p, x, loss)
    value, grads = nlicl.loss_and_grad(p, x, loss)
    each = [nlicl.loss_and_grad(p, x[n : n + 1], loss) for n in range(len(x))]
    tol = bounds(p, x)
    assert_close(value, np.mean([one for one, _ in each]), tol.score * (1 + value))
    assert_grads_close(grads, [np.mean(parts, 0) for parts in zip(*(g for _, g in each), strict=True)], tol.grads)


@given(sizes, losses, seeds)
def test_order_and_copies_of_prompts_do_not_matter(size, loss, seed):
    p, x = problem(size, seed)
    smooth(p, x, loss)
    order = np.tile(np.random.default_rng(seed).permutation(size.B), 3)
    assert_same_gradients(p, x, p, x[order], loss, bounds(p, x))


@given(sizes, losses, attends, seeds)
def test_labels_are_a_matter_of_sign(size, loss, query_attends, seed):
    """Every loss satisfies L(F, z) = L(-F, -z), and F is odd in a: flipping all labels and a changes no loss; the
    gradient of a flips with a, the other four stay."""
    p, x = problem(size, seed, query_attends=query_attends)
    flipped = p._replace(a=-p.a)
    want, grads = nlicl.loss_and_grad(p, x, loss)
    value, new = nlicl.loss_and_grad(flipped, Prompts(x.tokens, -x.labels, query_attends), loss)
    assert value == want  # negation is exact
    for name, got, expected in zip(Params._fields, new, grads, strict=True):
        np.testing.assert_array_equal(got, -expected if name == "a" else expected)


@given(sizes, seeds)
def test_hinge_gradients_of_opposite_labels(size, seed):
    """Where both hinges are active, |F| < 1, the hinge is 1 - zF: its gradients under z and -z add up to 0, and its
    losses to 2."""
    p, x = problem(size, seed)
    out = nlicl.forward(p, x)
    p = p._replace(a=p.a * min(1.0, 0.5 / max(np.abs(out.score).max(), 1e-300)))
    value, grads = nlicl.loss_and_grad(p, x)
    opposite, others = nlicl.loss_and_grad(p, Prompts(x.tokens, -x.labels))
    assert value + opposite == pytest.approx(2, rel=1e-14)
    for grad, other in zip(grads, others, strict=True):
        np.testing.assert_array_equal(grad, -other)


# ---------------------------------------------------------------- identities between the gradients (li2024, 7.5)


@given(sizes, dtypes, losses, attends, seeds)
def test_balance_of_the_gradients(size, dtype, loss, query_attends, seed):
    """Factors that enter as a product have balanced gradients, on batches as on one prompt:
    W_O^T dW_O = dW_V W_V^T and W_Q dW_Q^T = dW_K W_K^T, hence <W_Q, dW_Q> = <W_K, dW_K>; and F being of degree 1
    in W_O, W_V and a, <W_O, dW_O> = <W_V, dW_V> = <a, da> = mean of g F."""
    p, x = problem(size, seed, dtype, query_attends)
    out = smooth(p, x, loss)
    _, dp = nlicl.loss_and_grad(p, x, loss)
    tol = bounds(p, x).grads
    norm = np.linalg.norm
    assert_close(p.W_O.T @ dp.W_O, dp.W_V @ p.W_V.T, tol.W_O * norm(p.W_O) + tol.W_V * norm(p.W_V))
    assert_close(p.W_Q @ dp.W_Q.T, dp.W_K @ p.W_K.T, tol.W_Q * norm(p.W_Q) + tol.W_K * norm(p.W_K))
    assert_close(np.vdot(p.W_Q, dp.W_Q), np.vdot(p.W_K, dp.W_K), tol.W_Q * norm(p.W_Q) + tol.W_K * norm(p.W_K))
    z, F = x.labels, out.score
    g = {"hinge": -z * (z * F < 1), "logistic": -z / (1 + np.exp(z * F)), "squared": F - z}[loss]
    for name in ("W_O", "W_V", "a"):
        got = np.vdot(getattr(p, name), getattr(dp, name))
        assert_close(got, (g * F).mean(), getattr(tol, name) * norm(getattr(p, name)) * (1 + np.abs(F).max()), name)


@given(sizes, losses, attends, seeds)
def test_rotating_tokens_and_parameters_together_changes_nothing(size, loss, query_attends, seed):
    """p -> R p with W -> W R^T for W_Q, W_K, W_V: the same scores, and gradients that rotate with the parameters."""
    p, x = problem(size, seed, query_attends=query_attends)
    smooth(p, x, loss)
    R = rotation(np.random.default_rng(seed), size.d)

    def rotated(params):
        return params._replace(W_Q=params.W_Q @ R.T, W_K=params.W_K @ R.T, W_V=params.W_V @ R.T)

    y = Prompts(x.tokens @ R.T, x.labels, query_attends)
    assert_close(nlicl.forward(rotated(p), y).attention, nlicl.forward(p, x).attention, bounds(p, x).attention)
    assert_same_gradients(p, x, rotated(p), y, loss, bounds(p, x), rotated)


@given(sizes, losses, seeds)
def test_neurons_can_be_renumbered_and_dead_ones_stay_dead(size, loss, seed):
    """Permuting the rows of W_O with a permutes their gradients. A zeroed row (a pruned neuron) has pre-activation
    0: it adds nothing to F and has no gradient, although a_i is not 0."""
    p, x = problem(size, seed)
    smooth(p, x, loss)
    order = np.random.default_rng(seed).permutation(size.m)
    shuffled = lambda params: params._replace(W_O=params.W_O[order], a=params.a[order])  # noqa: E731
    assert_same_gradients(p, x, shuffled(p), x, loss, bounds(p, x), shuffled)

    padded = p._replace(W_O=np.pad(p.W_O, ((0, 2), (0, 0))), a=np.append(p.a, [5.0, -5.0]))
    _, grads = nlicl.loss_and_grad(padded, x, loss)
    np.testing.assert_array_equal(grads.W_O[-2:], 0)
    np.testing.assert_array_equal(grads.a[-2:], 0)
    cut = lambda params: params._replace(W_O=params.W_O[:-2], a=params.a[:-2])  # noqa: E731
    assert_grads_close(cut(grads), nlicl.loss_and_grad(p, x, loss)[1], bounds(padded, x).grads)


@given(sizes, losses, seeds)
def test_slope_along_the_gradient_is_its_length(size, loss, seed):
    """d/dt L(W + t dW / |dW|) = |dW| at t = 0, by a central difference on one smooth piece. At h = 1e-5 its
    truncation is h^2 = 1e-10 and its rounding 1e-16 / h = 1e-11 times numbers of order 1 to 1000."""
    p, x = problem(size, seed)
    out = smooth(p, x, loss)
    _, grads = nlicl.loss_and_grad(p, x, loss)
    length, h = np.sqrt(sum(np.vdot(grad, grad) for grad in grads)), 1e-5
    assume(length > 1e-6)
    there = [Params(*(w + t * grad / length for w, grad in zip(p, grads, strict=True))) for t in (h, -h)]
    for q in there:
        moved = nlicl.forward(q, x)
        assume((moved.preactivation * out.preactivation > 0).all())
        assume(loss != "hinge" or ((1 - x.labels * moved.score) * (1 - x.labels * out.score) > 0).all())
    ahead, behind = (nlicl.loss_and_grad(q, x, loss)[0] for q in there)
    assert (ahead - behind) / (2 * h) == pytest.approx(length, rel=1e-6, abs=1e-6)


def test_gradients_of_different_parameters_are_not_swapped():
    """With all sizes different, shapes alone tell the gradients apart."""
    p, x = problem(Sizes(B=6, l=7, d=5, m_a=3, m_b=4, m=9))
    _, grads = nlicl.loss_and_grad(p, x)
    assert [g.shape for g in grads] == [(3, 5), (3, 5), (4, 5), (9, 4), (9,)]
