"""Training of Bu et al. 2024: mask, decay, schedule, population, the reference runs; what must hold for every prompt."""

import dataclasses
import math

import numpy as np
import pytest
from draws import assert_close, seeds
from hypothesis import assume, given
from hypothesis import strategies as st

import nlicl
from nlicl import Params
from nlicl.kernels import compile
from nlicl.papers.bu2024 import (
    CodedPrompts,
    Problem,
    closed,
    formulas,
    mechanism,
    recursion,
    reference,
    small,
    theory,
    theory_case,
)
from nlicl.training import InverseTime

TINY = Problem(
    dictionary=6, d_x=9, d_y=7, p_z=0.3, m=5, sigma_xi=0.2, sigma_1=0.3, weight_decay=0.01, step_offset=400.0
)
ONE = dataclasses.replace(theory_case, match="iid", norm_x=2.0, norm_y=2.0)  # one concept, no noise


def drawn(problem, seed, **sizes):
    """Generic parameters, label columns of W_Q and W_K included."""
    rng = np.random.default_rng(seed)
    return Params(*(rng.normal(size=array.shape) / 4 for array in problem.initialize(**sizes)))


def word_blocks(problem, seed):
    """Generic word blocks with label columns of 0 and W_V = [0 I], as training has them."""
    p, start, d_x = drawn(problem, seed), problem.initialize(), problem.d_x
    W_Q, W_K = p.W_Q.copy(), p.W_K.copy()
    W_Q[:, d_x:] = W_K[:, d_x:] = 0
    return p._replace(W_Q=W_Q, W_K=W_K, W_V=start.W_V)


def bits(params):
    return b"".join(array.tobytes() for array in params)


def clear(params, prompts, margin=1e-6):
    """No neuron that rounding could switch."""
    out = nlicl.forward(params, prompts)
    assume(abs(out.preactivation).min() > margin)
    return out


# ---------------------------------------------------------------- one step, and what does not take part


def test_a_step_is_its_equation():
    """W <- W - eta_t (dW + lambda W) on word columns of W_Q, W_K and on W_O; everything else stays."""
    start = drawn(TINY, 1)
    grads = nlicl.loss_and_grad(start, TINY.sample(16, seed=(3, 0)))[1]
    end = nlicl.train(TINY, params=start, steps=1, seed=3, measure=None).params
    eta, d_x = 2 / (0.01 * 400), 9
    for name in ("W_Q", "W_K"):
        W, dW, got = (getattr(each, name) for each in (start, grads, end))
        assert_close(got[:, :d_x], W[:, :d_x] - eta * (dW[:, :d_x] + 0.01 * W[:, :d_x]), 1e-14)
        assert got[:, d_x:].tobytes() == W[:, d_x:].tobytes()
    assert abs(grads.W_K[:, d_x:]).max() > 1e-3  # it is the mask that keeps them
    assert_close(end.W_O, start.W_O - eta * (grads.W_O + 0.01 * start.W_O), 1e-14)
    assert end.W_V.tobytes() == start.W_V.tobytes() and end.a.tobytes() == start.a.tobytes()


@pytest.mark.parametrize("problem", [TINY, dataclasses.replace(small, steps=100)], ids=["noise", "small"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_frozen_keeps_its_bits(problem, dtype):
    start = problem.initialize(seed=2)
    end = nlicl.train(problem, steps=40, seed=2, measure=None, dtype=dtype).params
    zeros = np.zeros((problem.d_x, problem.d_y), dtype).tobytes()
    for W in (end.W_Q, end.W_K):
        assert W[:, problem.d_x :].tobytes() == zeros
        assert abs(W[:, : problem.d_x] - start.W_Q[:, : problem.d_x]).max() > 1e-3
    assert end.W_V.tobytes() == start.W_V.astype(dtype).tobytes()
    assert end.a.tobytes() == start.a.astype(dtype).tobytes()


def test_without_the_mask_label_columns_of_keys_train():
    end = nlicl.train(small, steps=3, mask={}, measure=None).params
    assert abs(end.W_K[:, small.d_x :]).max() > 1e-6
    assert not end.W_Q[:, small.d_x :].any()  # these have no gradient: a query has no label


def test_eta_lambda_and_their_defaults():
    history = nlicl.train(small, steps=50, measure=None).history
    np.testing.assert_allclose(history.learning_rate, 2 / (0.01 * (4000 + np.arange(50))), rtol=1e-15)
    run = nlicl.train(small, steps=20, measure=None)
    assert run.settings["weight_decay"] == 0.01
    same = nlicl.train(small, steps=20, measure=None, weight_decay=0.01, schedule=InverseTime(4000.0))
    assert bits(same.params) == bits(run.params)
    other = nlicl.train(small, steps=20, measure=None, weight_decay=0.0)
    assert bits(other.params) != bits(run.params)
    constant = nlicl.train(small, steps=4, measure=None, schedule=lambda t: 1.0).history
    np.testing.assert_array_equal(constant.learning_rate, 0.05)


def test_a_copy_with_another_lambda_trains_by_it():
    history = nlicl.train(dataclasses.replace(small, weight_decay=0.04), steps=5, measure=None).history
    np.testing.assert_allclose(history.learning_rate, 2 / (0.04 * (4000 + np.arange(5))), rtol=1e-15)


@pytest.mark.parametrize("prompts", ["fresh", "population"])
@pytest.mark.parametrize("match", ["balanced", "at-least-one"])
def test_alpha_of_keys_only_decays(match, prompts):
    """Every update of W_K^x ends in b^T: a^T W_K a and b^T W_K a have no drift, exactly."""
    problem = dataclasses.replace(theory_case, match=match)
    run = nlicl.train(problem, steps=300, prompts=prompts, measure=100)
    want = 0.3 * theory.decay(run.history.steps, 4000)
    for k in range(2):
        np.testing.assert_allclose(run.history["alpha_K"][:, k], want, rtol=1e-12)
    s, W_K = problem.semantics, run.params.W_K[:, : problem.d_x]
    assert abs(s.b.T @ W_K @ s.a).max() < 1e-12
    assert abs(run.history["beta_K"][-1] / want[-1] - 1).min() > 0.1


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("prompts", ["fresh", "population"])
def test_a_resumed_run_has_the_same_bits(prompts, tmp_path):
    problem = dataclasses.replace(theory_case, match="iid") if prompts == "population" else TINY
    options = {"prompts": prompts, "measure": 5}
    want = nlicl.train(problem, steps=20, out=tmp_path / "whole", **options)
    nlicl.train(problem, steps=9, out=tmp_path / "run", **options)
    got = nlicl.train(problem, steps=20, resume=True, out=tmp_path / "run", **options)
    assert bits(got.params) == bits(want.params)
    for name in want.history.measured:
        np.testing.assert_array_equal(got.history[name], want.history[name])


@pytest.mark.compiled
def test_a_run_has_the_same_bits_on_any_number_of_threads(monkeypatch):
    problem = Problem(p_z=0.02, batch=80)  # tokens enough for two chunks, products enough for several threads
    found = set()
    for threads in (1, 3):
        monkeypatch.setattr(compile, "THREADS", threads)
        found.add(bits(nlicl.train(problem, steps=3, measure=None, batch=900).params))
    assert len(found) == 1


# ---------------------------------------------------------------- population and recursion


@pytest.mark.parametrize("match, L", [("balanced", 4), ("iid", 3), ("at-least-one", 3)])
def test_the_population_s_gradient_is_the_mean_over_all_prompts(match, L):
    """Built one by one from concept, signs and their probability."""
    problem = dataclasses.replace(theory_case, match=match, length=L)
    p, s = drawn(problem, 3), problem.semantics
    total, value, mass = [np.zeros_like(array) for array in p], 0.0, 0.0
    for k in range(2):
        for e_q in (1, -1):
            for pattern in np.ndindex(*[2] * L):
                signs = [1 - 2 * bit for bit in pattern]
                n_plus = signs.count(e_q)
                weight = theory.match_law(L, match)[n_plus] / math.comb(L, n_plus)
                if weight == 0:
                    continue
                tokens = [np.append(s.a[:, k] + e * s.b[:, k], s.c[:, k] + e * s.d[:, k]) for e in signs]
                query = np.append(s.a[:, k] + e_q * s.b[:, k], np.zeros(problem.d_y))
                one = nlicl.Prompts(np.array([[*tokens, query]]), [float(e_q)])
                loss, grads = nlicl.loss_and_grad(p, one, "logistic")
                value, mass = value + weight * loss, mass + weight
                for sum_, grad in zip(total, grads, strict=True):
                    sum_ += weight * grad
    assert mass == pytest.approx(4, rel=1e-14)
    got, grads = nlicl.loss_and_grad(p, problem.population())
    assert got == pytest.approx(value / 4, rel=1e-13)
    for name, grad, sum_ in zip(Params._fields, grads, total, strict=True):
        assert_close(grad, sum_ / 4, 1e-13 * (1 + abs(grad).max()), name)


def test_descent_on_the_population_is_the_reduced_recursion():
    run = nlicl.train(theory_case, steps=300, prompts="population", measure=[0, 150, 300], seed=1)
    start, s = theory_case.initialize(seed=1), theory_case.semantics
    norms = theory.norms(4.0, 4.0, 0.5, 0.5)
    setting = recursion.Setting(2, *norms, weight_decay=0.01)
    etas = theory.step_sizes(300, 0.01, 4000)
    for k in range(2):
        want = recursion.run(recursion.project(start, s, k), start.a, setting, etas, record=[0, 150, 300])
        for name, got, expected in zip(
            recursion.State._fields, recursion.project(run.params, s, k), want.state, strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12, err_msg=name)
        for name in ("alpha_Q", "alpha_K", "beta_Q", "beta_K"):
            assert_close(run.history[name][:, k], getattr(want.observed, name), 1e-12, name)
        x = theory_case.population()
        of = x[x.concept == k]
        out = nlicl.forward(run.params, of)
        assert_close(mechanism.correct_attention(out.attention, of), want.observed.attn_plus[-1], 1e-12)
        assert_close(of.labels * out.score, want.observed.margin[-1], 1e-12)
    assert run.history["beta_Q"][-1].max() > 0.5  # one concept is learnt, the other still at the saddle


# ---------------------------------------------------------------- the reference runs

REFERENCE = {  # t: ranges over seeds of error, correct attention and loss
    0: ((0.44, 0.54), (0.535, 0.545), (0.6925, 0.6935)),
    200: ((0.33, 0.51), (0.550, 0.575), (0.691, 0.692)),
    400: ((0.0005, 0.23), (0.69, 0.93), (0.633, 0.681)),
    600: ((0.0004, 0.0028), (0.950, 0.995), (0.526, 0.613)),
    800: ((0.0004, 0.0015), (0.995, 0.998), (0.444, 0.539)),
}


@pytest.mark.slow
def test_the_reference_table():
    """Our reference run, on a quarter of its test prompts: 4.5 standard deviations of a count more of error."""
    for seed in (0, 1):
        history = nlicl.train(Problem(), steps=800, measure=list(REFERENCE), seed=seed).history
        for t, (errors, attentions, losses) in REFERENCE.items():
            error, attention, loss = (history.at(t, name) for name in ("error", "attention", "loss"))
            spare = [4.5 * math.sqrt(p * (1 - p) / 2000) for p in errors]
            assert errors[0] - spare[0] <= error <= errors[1] + spare[1], (seed, t)
            assert attentions[0] - 5e-3 <= attention <= attentions[1] + 5e-3, (seed, t)
            assert losses[0] - 2e-3 <= loss <= losses[1] + 2e-3, (seed, t)
        assert history["error"][3] < 0.005 < 0.5 < history["loss"][3]  # right long before the loss is small
        decayed = 0.1 * theory.decay(np.array(list(REFERENCE)), 1e4)
        np.testing.assert_allclose(history["alpha_K"], np.repeat(decayed[:, None], 2, 1), rtol=1e-2)


# ---------------------------------------------------------------- identities of the gradients


PROBLEMS = st.sampled_from([TINY, small, dataclasses.replace(TINY, sigma_xi=0.0)])


@given(PROBLEMS, st.integers(1, 30), seeds)
def test_identities_of_the_gradients(problem, B, seed):
    """Rounding only: of queries and keys, and of neurons, values and outputs."""
    p, x = drawn(problem, seed), problem.sample(B, seed=seed)
    out = nlicl.forward(p, x)
    grads = nlicl.loss_and_grad(p, x)[1]
    g = -x.labels / (1 + np.exp(x.labels * out.score))
    merged = [reference.Merged(p.W_K.T @ p.W_Q, p.W_V, p.W_O, p.a)] * B
    dW_QK = np.mean([formulas["W_QK"](one, prompt) for one, prompt in zip(merged, x, strict=True)], axis=0)
    close = lambda got, want: assert_close(got, want, 1e-12 * (1 + np.max(np.abs(want))))  # noqa: E731
    close(grads.W_Q, p.W_K @ dW_QK)
    close(grads.W_K, p.W_Q @ dW_QK.T)
    close(grads.W_K @ p.W_K.T, (grads.W_Q @ p.W_Q.T).T)
    close(np.sum(grads.W_K * p.W_K), np.sum(grads.W_Q * p.W_Q))
    gF = np.mean(g * out.score)
    for name in ("W_O", "W_V", "a"):
        close(np.sum(getattr(grads, name) * getattr(p, name)), gF)
    assert not grads.W_Q[:, problem.d_x :].any()


@given(st.sampled_from([TINY, small]), seeds)
def test_keys_against_queries_are_conserved_to_first_order(problem, seed):
    """A step of eta without decay changes W_K W_K^T - W_Q W_Q^T, of the trained blocks, by eta^2 (dK dK^T - dQ dQ^T) alone."""
    p, x, d_x = word_blocks(problem, seed), problem.sample(9, seed=seed), problem.d_x
    grads = nlicl.loss_and_grad(p, x)[1]
    Q, K, dQ, dK = (W[:, :d_x] for W in (p.W_Q, p.W_K, grads.W_Q, grads.W_K))
    for eta in (1.0, 1e-2):
        K_1, Q_1 = K - eta * dK, Q - eta * dQ
        change = (K_1 @ K_1.T - Q_1 @ Q_1.T) - (K @ K.T - Q @ Q.T)
        want = eta**2 * (dK @ dK.T - dQ @ dQ.T)
        assert_close(change, want, 1e-13 * (1 + abs(want).max() + abs(K_1 @ K_1.T).max() + abs(Q_1 @ Q_1.T).max()))


# ---------------------------------------------------------------- what must hold for every prompt


def changed(x, order=None, tokens=None, code=None):
    """The same prompts with demonstrations in another order, or other tokens."""
    order = np.arange(x.length + 1) if order is None else order
    tokens = x.tokens if tokens is None else tokens
    return CodedPrompts(
        x.dictionary,
        x.d_x,
        x.code[:, order],
        x.concept,
        x.signs[:, order],
        None if tokens is None else tokens[:, order],
    )


@given(PROBLEMS, seeds, st.booleans())
def test_order_and_number_of_copies_change_nothing(problem, seed, copied):
    p, x = drawn(problem, seed), problem.sample(12, seed=seed)
    clear(p, x)
    order = np.random.default_rng(seed).permutation(4)
    order = [*np.repeat(order, 2), 4] if copied else [*order, 4]
    y = changed(x, order)
    one, other = nlicl.forward(p, x), nlicl.forward(p, y)
    assert_close(other.score, one.score, 1e-11 * (1 + abs(one.score).max()))
    plus = mechanism.correct_attention(one.attention, x)
    assert_close(mechanism.correct_attention(other.attention, y), plus, 1e-11)
    for grad, want in zip(nlicl.loss_and_grad(p, y)[1], nlicl.loss_and_grad(p, x)[1], strict=True):
        assert_close(grad, want, 1e-11 * (1 + abs(want).max()))


@given(st.sampled_from([TINY, small, dataclasses.replace(TINY, sigma_xi=0.0)]), seeds)
def test_words_may_be_rotated_with_their_matrices(problem, seed):
    """x -> U x, W^x -> W^x U^T: the same scores; dW_Q^x, dW_K^x -> dW^x U^T, all others as they were."""
    p, x, d_x = word_blocks(problem, seed), problem.sample(12, seed=seed), problem.d_x
    clear(p, x)
    U = np.linalg.qr(np.random.default_rng(seed).normal(size=(d_x, d_x)))[0]
    turn = np.eye(problem.d)
    turn[:d_x, :d_x] = U
    tokens = None if x.tokens is None else x.tokens @ turn.T
    y = CodedPrompts(turn @ x.dictionary, d_x, x.code, x.concept, x.signs, tokens)
    q = p._replace(W_Q=p.W_Q @ turn.T, W_K=p.W_K @ turn.T)
    assert_close(nlicl.forward(q, y).score, nlicl.forward(p, x).score, 1e-11)
    grads, turned = nlicl.loss_and_grad(p, x)[1], nlicl.loss_and_grad(q, y)[1]
    for name in ("W_Q", "W_K", "W_V"):  # W_V reads labels alone, but its gradient sees words
        want = getattr(grads, name) @ turn.T
        assert_close(getattr(turned, name), want, 1e-11 * (1 + abs(want).max()))
    assert_close(turned.W_O, grads.W_O, 1e-11 * (1 + abs(grads.W_O).max()))
    assert_close(turned.a, grads.a, 1e-11 * (1 + abs(grads.a).max()))


def of_signs(problem, rows, concept=0):
    """Prompts of one concept, one for each row of signs, the query's last."""
    signs = np.array(rows)
    code = np.zeros((*signs.shape, problem.dictionary), bool)
    for n, t in np.ndindex(signs.shape):
        code[n, t, 2 * concept + (signs[n, t] < 0)] = True
    return problem_codes(problem, code, np.full(len(signs), concept), signs)


def problem_codes(problem, code, concept, signs):
    return CodedPrompts(np.vstack([problem.M, problem.Q_labels]), problem.d_x, code, concept, signs)


@given(seeds, st.integers(1, 4), st.integers(0, 4), st.integers(2, 6), st.sampled_from([1, -1]))
def test_length_enters_through_the_ratio_of_signs_alone(seed, plus, minus, times, e_q):
    p = word_blocks(ONE, seed)
    short = of_signs(ONE, [[e_q] * plus + [-e_q] * minus + [e_q]], concept=1)
    long = of_signs(ONE, [[e_q] * (times * plus) + [-e_q] * (times * minus) + [e_q]], concept=1)
    one, other = nlicl.forward(p, short), nlicl.forward(p, long)
    attn = [mechanism.correct_attention(out.attention, x)[0] for out, x in ((one, short), (other, long))]
    assert attn[0] == pytest.approx(attn[1], rel=1e-12)
    assert_close(other.score, one.score, 1e-12)
    s = ONE.semantics
    form = closed.closed_form(
        p.W_Q[:, : ONE.d_x],
        p.W_K[:, : ONE.d_x],
        p.W_O,
        p.a,
        s.a[:, 1],
        s.b[:, 1],
        s.c[:, 1],
        s.d[:, 1],
        e_q,
        plus,
        minus,
    )
    assert attn[0] == pytest.approx(form.attn_plus, rel=1e-12) and one.score[0] == pytest.approx(
        form.score, rel=1e-11, abs=1e-13
    )
    assume(abs(form.preactivation).min() > 1e-9)
    g = -e_q / (1 + np.exp(e_q * form.score))
    grads = nlicl.loss_and_grad(p, short)[1]
    assert_close(grads.W_Q[:, : ONE.d_x], g * form.dW_Q, 1e-12 * (1 + abs(form.dW_Q).max()))
    assert_close(grads.W_K[:, : ONE.d_x], g * form.dW_K, 1e-12 * (1 + abs(form.dW_K).max()))


@given(seeds, st.integers(1, 5))
def test_where_all_signs_are_equal_the_query_s_does_not_count(seed, L):
    """Hence the floor 2^-L of independent signs: one of the two queries is answered wrongly, whatever the parameters."""
    p = word_blocks(ONE, seed)
    for e in (1, -1):
        x = of_signs(ONE, [[e] * L + [1], [e] * L + [-1]])
        one, other = nlicl.forward(p, x).score
        assert one == pytest.approx(other, rel=1e-12, abs=1e-14)


def test_no_parameters_beat_the_floor():
    """All 2^(L+1) prompts of a concept, equally likely: at least 2^-L of them are answered wrongly."""
    for L in (1, 2, 3):
        problem = dataclasses.replace(ONE, length=L)
        x = problem.population()
        for seed in range(20):
            p = nlicl.forward(word_blocks(problem, seed), x)
            assert mechanism.error(np.round(p.score, 12), x.labels) >= theory.floor_error(L) - 1e-12


@given(PROBLEMS, seeds, st.floats(-3, 3))
def test_shifted_scores_change_nothing(problem, seed, size):
    """One vector added to the words of all demonstrations, x_l + v, adds v^T W x_q to every score."""
    p, x, d_x = word_blocks(problem, seed), problem.sample(12, seed=seed), problem.d_x
    out = clear(p, x)
    tokens = x.dense().tokens.copy()
    tokens[:, :-1, :d_x] += size * np.random.default_rng(seed).normal(size=(12, 1, d_x))
    moved = nlicl.forward(p, changed(x, tokens=tokens))
    assert_close(moved.attention, out.attention, 1e-11)
    assert_close(moved.score, out.score, 1e-11)
