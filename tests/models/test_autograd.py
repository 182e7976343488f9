"""Reverse-mode differentiation by others, torch and jax, of the model as the paper writes it: in float64, where installed."""

import numpy as np
import pytest
from draws import LOSSES, Sizes, assert_close, assert_grads_close, bounds, clear_of_kinks, problem

import nlicl

SIZES = [Sizes(), Sizes(B=1, l=1, d=1, m_a=1, m_b=1, m=1), Sizes(B=40, l=12, d=7, m_a=8, m_b=2, m=11)]


def cases(sizes):
    return pytest.mark.parametrize(
        ("size", "loss", "query_attends"), [(s, loss, q) for s in sizes for loss in LOSSES for q in (False, True)]
    )


def mean_loss(xp, softmax, softplus, params, tokens, labels, loss, query_attends):
    """The definition by a framework's own functions: keys and values of all tokens, nothing merged."""
    W_Q, W_K, W_V, W_O, a = params
    p, query = (tokens if query_attends else tokens[:, :-1]), tokens[:, -1]
    scores = xp.einsum("nik,nk->ni", p @ W_K.T, query @ W_Q.T)
    head = xp.einsum("ni,nik->nk", softmax(scores), p @ W_V.T)
    u = head @ W_O.T
    F = xp.where(u > 0, u, 0.0 * u) @ a
    if loss == "hinge":
        margin = 1 - labels * F
        return xp.where(margin > 0, margin, 0.0 * margin).mean()
    return softplus(-labels * F).mean() if loss == "logistic" else ((F - labels) ** 2 / 2).mean()


def assert_agrees(size, loss, query_attends, witness):
    p, x = problem(size, seed=7, query_attends=query_attends)
    assert clear_of_kinks(nlicl.forward(p, x), x.labels, loss, 1e-9)  # or the comparison would mean nothing
    want, want_grads = witness(p, x)
    value, grads = nlicl.loss_and_grad(p, x, loss)
    tol = bounds(p, x)
    assert_close(value, want, tol.score * (1 + value))
    assert_grads_close(grads, want_grads, tol.grads)
    if size.l > 1:
        assert all(np.abs(grad).max() > 1e-4 for grad in grads)


@cases(SIZES)
def test_torch(size, loss, query_attends):
    torch = pytest.importorskip("torch")

    def witness(p, x):
        leaves = [torch.tensor(w, requires_grad=True) for w in p]
        softplus, softmax = torch.nn.functional.softplus, lambda s: torch.softmax(s, -1)
        tokens, labels = torch.tensor(x.tokens), torch.tensor(x.labels)
        value = mean_loss(torch, softmax, softplus, leaves, tokens, labels, loss, query_attends)
        return value.item(), [grad.numpy() for grad in torch.autograd.grad(value, leaves)]

    assert_agrees(size, loss, query_attends, witness)


@cases(SIZES[:1])  # each case is compiled by jax, which takes it a second
def test_jax(size, loss, query_attends):
    jax = pytest.importorskip("jax")

    def witness(p, x):
        def function(leaves):
            tokens, labels = jax.numpy.asarray(x.tokens), jax.numpy.asarray(x.labels)
            return mean_loss(jax.numpy, jax.nn.softmax, jax.nn.softplus, leaves, tokens, labels, loss, query_attends)

        before = jax.config.jax_enable_x64
        jax.config.update("jax_enable_x64", True)  # float64, which jax turns into float32 otherwise
        try:
            value, grads = jax.jit(jax.value_and_grad(function))([jax.numpy.asarray(w) for w in p])
            return float(value), [np.asarray(grad) for grad in grads]
        finally:
            jax.config.update("jax_enable_x64", before)

    assert_agrees(size, loss, query_attends, witness)
