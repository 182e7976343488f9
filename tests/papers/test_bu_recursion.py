"""The reduced recursion of the third paper: its golden values, and full gradient descent as its witness."""

from typing import NamedTuple

import numpy as np
import pytest

import nlicl
from nlicl.papers.bu2024 import recursion, theory
from nlicl.papers.bu2024.recursion import Setting, State

# ---------------------------------------------------------------- golden values

GOLDEN = {  # t: attn_+ at e = +1, -1; e F_e at e = +1, -1; beta_Q, beta_K; alpha_Q, alpha_K
    0: (0.672607, 0.672607, 0.022499, -0.012142, 0.300000, 0.300000, 0.300000, 0.300000),
    1: (0.672652, 0.672663, 0.023070, -0.011229, 0.300048, 0.300048, 0.299850, 0.299850),
    100: (0.827956, 0.831751, 0.180492, 0.175464, 0.445066, 0.445059, 0.285535, 0.285539),
    200: (0.957841, 0.957671, 0.517198, 0.509331, 0.624650, 0.624577, 0.272044, 0.272099),
    400: (0.988816, 0.988764, 0.996367, 0.990445, 0.748335, 0.748273, 0.247863, 0.247917),
    1000: (0.993733, 0.993719, 1.620863, 1.617601, 0.795721, 0.795678, 0.191927, 0.191971),
}


def golden_start():
    state = recursion.start([0.10, -0.05, 0.08, -0.12], [0.02, 0.03, -0.01, 0.04], 0.3)
    setting = Setting(2, 12**0.5, 2.0, 12**0.5, 2.0, weight_decay=0.01)
    return state, np.array([1, 1, -1, -1]) / 4, setting, theory.step_sizes(1000, 0.01, 4000)


def test_golden_values():
    state, r, setting, etas = golden_start()
    run = recursion.run(state, r, setting, etas, record=GOLDEN)
    assert run.steps.tolist() == sorted(GOLDEN)
    o = run.observed
    got = np.hstack([o.attn_plus, o.margin, np.stack([o.beta_Q, o.beta_K, o.alpha_Q, o.alpha_K], axis=1)])
    np.testing.assert_allclose(got, list(GOLDEN.values()), rtol=0, atol=5.1e-7)


# ---------------------------------------------------------------- the equations as they stand, with a loop over everything


def literal(state, r, eta, setting):
    o_c, o_d, Q, K = state
    n_a, n_b, n_c, n_d, lam = setting.numbers
    b = np.array([0, n_b])
    D_c, D_d, D_Q, D_K = (np.zeros_like(x) for x in state)
    for e in (1, -1):
        x = np.array([n_a, e * n_b])
        t = np.tanh(2 * e * b @ K.T @ Q @ x / 2)
        h = n_c * o_c + e * t * n_d * o_d
        zeta = r * (h > 0)
        F = r @ np.maximum(h, 0)
        rho = 1 / (1 + np.exp(e * F))
        G = n_d * zeta @ o_d
        D_c += e * rho * n_c * zeta
        D_d += rho * t * n_d * zeta
        D_Q += e * rho * (1 - t**2) * G * np.outer(K @ b, x)
        D_K += e * rho * (1 - t**2) * G * np.outer(Q @ x, b)
    drifts = (D_c, D_d, D_Q, D_K)
    return State(*(x + eta * (D / (2 * setting.concepts) - lam * x) for x, D in zip(state, drifts, strict=True)))


def random_runs(runs, m, seed):
    rng = np.random.default_rng(seed)
    state = State(*rng.normal(size=(2, *runs, m)), *rng.normal(size=(2, *runs, 2, 2)) / 2)
    return state, rng.normal(size=(*runs, m)) / m, rng


def test_a_step_is_the_equations_run_by_run():
    state, r, rng = random_runs((3, 4), 7, seed=0)
    numbers = rng.uniform(0.5, 2, size=(5, 3, 4))
    eta = rng.uniform(0.1, 0.5, size=(3, 4))
    new = recursion.step(state, r, eta, Setting(3, *numbers))
    for i in np.ndindex(3, 4):
        want = literal(State(*(x[i] for x in state)), r[i], eta[i], Setting(3, *numbers[:, *i]))
        for name, got, expected in zip(State._fields, new, want, strict=True):
            np.testing.assert_allclose(got[i], expected, rtol=0, atol=1e-14, err_msg=name)


def test_a_run_is_its_steps_and_leaves_what_it_was_given():
    state, r, rng = random_runs((5,), 6, seed=1)
    before = [x.copy() for x in (*state, r)]
    setting = Setting(2, 1.5, 1.0, 2.0, 1.2, weight_decay=rng.uniform(0, 0.1, 5))
    etas = rng.uniform(0.1, 0.5, size=(8, 5))
    run = recursion.run(state, r, setting, etas, record=[3, 8, 0])
    step = state
    for t, eta in enumerate(etas):
        if t == 3:
            for got, want in zip(run.observed, recursion.observe(step, r, setting), strict=True):
                np.testing.assert_array_equal(got[1], want)
        step = recursion.step(step, r, eta, setting)
    assert run.steps.tolist() == [0, 3, 8]
    for got, want in zip(run.state, step, strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip((*state, r), before, strict=True):
        np.testing.assert_array_equal(got, want)


def test_one_setting_or_one_start_serves_many_runs():
    state, r, setting, etas = golden_start()
    alone = recursion.run(state, r, setting, etas[:50]).state
    decays = np.array([0.0, 0.01])
    together = recursion.run(state, r, Setting(*(2, *setting.numbers[:4]), decays), etas[:50]).state
    assert together.o_c.shape == (2, 4) and together.Q.shape == (2, 2, 2)
    for got, want in zip(together, alone, strict=True):
        np.testing.assert_allclose(got[1], want, rtol=0, atol=1e-15)
        assert np.abs(got[0] - want).max() > 1e-4


def test_the_observed_quantities():
    state, r, setting, _ = golden_start()
    o = recursion.observe(state._replace(Q=np.diag([0.4, -0.2]), K=np.diag([0.3, 0.1])), r, setting)
    assert (o.alpha_Q, o.alpha_K, o.beta_Q, o.beta_K) == (0.4, 0.3, -0.2, 0.1)
    np.testing.assert_allclose([o.R, o.X], [(0.02 + 0.01) / 4, -np.sqrt(2 * 0.02) / 4], rtol=1e-15)
    assert np.all(o.attn_plus < 0.5) and not o.learned


# ---------------------------------------------------------------- full gradient descent


class Semantics(NamedTuple):
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray


class Case(NamedTuple):
    """Two concepts, L = 4, kappa = 0.5, lambda = 0.01, sigma_0 = 0.3, sigma_1 = 0.1; K does not matter without noise."""

    d_x: int
    d_y: int
    norm: float
    m: int
    gamma: float


AT_THE_THRESHOLD = Case(d_x=8, d_y=7, norm=2.0, m=12, gamma=400)
LEARNS = Case(d_x=10, d_y=6, norm=4.0, m=20, gamma=4000)
L, LAMBDA = 4, 0.01


def full_problem(case, seed=0):
    """Semantics in general position, parameters, and all balanced noise-free prompts."""
    rng = np.random.default_rng(seed)
    norms = theory.norms(case.norm, case.norm, 0.5, 0.5)
    words, labels = (np.linalg.qr(rng.normal(size=(size, size)))[0][:, :4] for size in (case.d_x, case.d_y))
    semantics = Semantics(
        norms.a * words[:, :2], norms.b * words[:, 2:], norms.c * labels[:, :2], norms.d * labels[:, 2:]
    )
    zeros = np.zeros((case.d_x, case.d_y))
    params = nlicl.Params(
        np.hstack([0.3 * np.eye(case.d_x), zeros]),
        np.hstack([0.3 * np.eye(case.d_x), zeros]),
        np.hstack([zeros.T, np.eye(case.d_y)]),
        0.1 * rng.normal(size=(case.m, case.d_y)),
        rng.choice([-1.0, 1.0], case.m) / case.m,
    )
    tokens = []
    for k in range(2):
        for e_q in (1, -1):
            signs = [*rng.permutation([1, 1, -1, -1]), e_q]
            rows = [
                np.append(
                    semantics.a[:, k] + e * semantics.b[:, k], (semantics.c[:, k] + e * semantics.d[:, k]) * (n < L)
                )
                for n, e in enumerate(signs)
            ]
            tokens.append(rows)
    return semantics, params, nlicl.Prompts(np.array(tokens), [1, -1, 1, -1]), Setting(2, *norms, LAMBDA)


def descend(params, prompts, etas, d_x):
    """Gradient descent of the trained blocks, W_Q^x, W_K^x, W_O."""
    for eta in etas:
        grads = nlicl.loss_and_grad(params, prompts, loss="logistic")[1]
        W_Q, W_K = params.W_Q.copy(), params.W_K.copy()
        W_Q[:, :d_x] -= eta * (grads.W_Q[:, :d_x] + LAMBDA * W_Q[:, :d_x])
        W_K[:, :d_x] -= eta * (grads.W_K[:, :d_x] + LAMBDA * W_K[:, :d_x])
        params = params._replace(W_Q=W_Q, W_K=W_K, W_O=params.W_O - eta * (grads.W_O + LAMBDA * params.W_O))
    return params


@pytest.mark.parametrize(
    "case, least, most", [(AT_THE_THRESHOLD, 0.5, 0.52), (LEARNS, 0.92, 1)], ids=["threshold", "learns"]
)
def test_it_is_full_gradient_descent(case, least, most):
    semantics, params, prompts, setting = full_problem(case)
    etas = theory.step_sizes(300, LAMBDA, case.gamma)
    end = descend(params, prompts, etas, case.d_x)
    for k in range(2):
        state = recursion.project(params, semantics, k)
        run = recursion.run(state, params.a, setting, etas)
        for name, got, want in zip(State._fields, run.state, recursion.project(end, semantics, k), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12, err_msg=name)
            assert np.abs(got - getattr(state, name)).max() > 1e-3, name
        assert np.all((least < run.observed.attn_plus[-1]) & (run.observed.attn_plus[-1] < most))
        out = nlicl.forward(end, prompts[2 * k : 2 * k + 2])
        np.testing.assert_allclose(run.observed.margin[-1], out.score * [1, -1], rtol=0, atol=1e-12)
    # concepts do not meet: of W_Q, W_K a block between two of them stays 0, and outside of all of them only decay acts
    basis = [np.stack([w[:, k] / np.linalg.norm(w[:, k]) for w in semantics[:2]], axis=1) for k in range(2)]
    rest = np.eye(case.d_x) - sum(u @ u.T for u in basis)
    for W in (end.W_Q[:, : case.d_x], end.W_K[:, : case.d_x]):
        for j in range(2):
            assert np.abs(basis[j].T @ W @ basis[1 - j]).max() < 1e-14
        np.testing.assert_allclose(rest @ W, 0.3 * theory.decay(300, case.gamma) * rest, rtol=0, atol=1e-14)


def test_alpha_of_keys_only_decays():
    state, r, setting, etas = golden_start()
    o = recursion.run(state, r, setting, etas, record=range(0, 1001, 100)).observed
    decayed = 0.3 * theory.decay(np.arange(0, 1001, 100), 4000)
    np.testing.assert_allclose(o.alpha_K, decayed, rtol=1e-12)
    assert 0 < abs(o.alpha_Q / decayed - 1).max() < 8e-4


# ---------------------------------------------------------------- bad input

STATE, R = recursion.start(np.ones((3, 4)), np.ones((3, 4)), 0.1), np.ones(4) / 4
PLAIN = Setting(1, 1.0, 1.0, 1.0, 1.0)
SEMANTICS = Semantics(np.eye(3)[:, :1], np.eye(3)[:, 1:2], np.eye(2)[:, :1], np.eye(2)[:, 1:])
PARAMS = nlicl.Params(np.ones((3, 5)), np.ones((3, 5)), np.ones((2, 5)), np.ones((4, 2)), np.ones(4))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Setting(0, 1, 1, 1, 1), "concepts is 0; expected at least 1"),
        (lambda: Setting(1, 1, [1.0, 0.0], 1, 1), r"norm_b\[1\] is 0; expected a finite number above 0"),
        (lambda: Setting(1, 1, 1, 1, 1, -0.1), "weight_decay is -0.1; expected a finite number of at least 0"),
        (lambda: Setting(1, "1", 1, 1, 1), "norm_a is '1'; expected finite numbers above 0"),
        (lambda: recursion.start(np.ones(3), np.ones(4), 0.1), r"o_c and o_d have shapes \(3,\) and \(4,\)"),
        (lambda: recursion.start([np.nan], [1.0], 0.1), r"o_c\[0\] is nan; expected a finite number"),
        (lambda: recursion.random_start(4, 0.1, -1.0, [0]), "sigma_1 is -1; expected a finite number of at least 0"),
        (lambda: recursion.random_start(4, 0.1, 1.0, [0.5]), "seeds is 0.5; expected an integer"),
        (lambda: recursion.random_start(4, 0.1, 0.1, 3), r"seeds is 3; expected a sequence of integers, one a run"),
        (
            lambda: recursion.random_start(4, [0.1, 0.2], 0.1, range(3)),
            r"sigma_0 has shape \(2,\); expected a number, .* \(3,\)",
        ),
        (
            lambda: recursion.random_start(4, 0.1, [0.1, 0.2], range(3)),
            r"sigma_1 has shape \(2,\); expected a number, .* \(3,\)",
        ),
        (
            lambda: recursion.run(3, R, PLAIN, [0.1]),
            r"state is a int; expected a nlicl.papers.bu2024.recursion.State, as recursion.start",
        ),
        (
            lambda: recursion.observe(tuple(STATE), R, PLAIN),
            r"state is a tuple; expected a nlicl.papers.bu2024.recursion.State",
        ),
        (
            lambda: recursion.run(STATE, R, 3, [0.1]),
            r"setting is a int; expected a nlicl.papers.bu2024.recursion.Setting",
        ),
        (lambda: recursion.run(STATE, R, PLAIN, [0.1], record=[]), "record is empty; expected steps from 0 to 1"),
        (lambda: recursion.run(STATE, R, PLAIN, [0.1], record=1), "record is 1; expected a sequence of steps"),
        (lambda: recursion.project(None, SEMANTICS, 0), "params is a NoneType; expected nlicl.Params"),
        (lambda: recursion.project(PARAMS, None, 0), "semantics is a NoneType; expected directions a, b, c, d"),
        (lambda: recursion.step(STATE, np.ones(5), 0.1, PLAIN), r"r have shapes \(3, 4\), \(3, 4\) and \(5,\)"),
        (lambda: recursion.step(STATE._replace(Q=np.ones((3, 2))), R, 0.1, PLAIN), r"Q and K have shapes \(3, 2\)"),
        (
            lambda: recursion.run(STATE, R, PLAIN, 0.1),
            r"etas is 0.1; expected one step size a step.*numpy.full\(T, 0.1\)",
        ),
        (lambda: recursion.run(STATE, R, PLAIN, [0.1, -0.1]), r"etas\[1\] is -0.1; expected"),
        (lambda: recursion.run(STATE, R, PLAIN, [0.1], record=[2]), "record holds 2; expected steps from 0 to 1"),
        (lambda: recursion.project(PARAMS, SEMANTICS, 1), "k is 1; expected a concept, 0 to 0"),
        (
            lambda: recursion.project(PARAMS._replace(W_O=np.ones((4, 3))), SEMANTICS, 0),
            r"params.W_O has shape \(4, 3\); expected \(m, m_b\) with m_b = 2",
        ),
    ],
)
def test_errors_say_what_was_given(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_step_sizes_that_are_too_large_are_said():
    with pytest.raises(ValueError, match=r"not finite at step \d+, with step sizes up to 100; lower etas"):
        recursion.run(STATE, R, Setting(1, 1.0, 1.0, 1.0, 1.0, 1.0), np.full(400, 100.0))
