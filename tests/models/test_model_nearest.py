"""The definition of the one-nearest-neighbour transformer: golden values, identities; its prompts, and what they refuse."""

import copy
import pickle

import naive_onenn
import numpy as np
import pytest
from draws import assert_close, seeds
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl.models.nearest import reference
from nlicl.models.nearest.prompts import Params, Prompts, codes
from nlicl.models.nearest.steps import NEAREST

# One prompt, d = 2, K = 3, N = 3 [derived; by a program of its own].
X = np.array([[[1, 0], [0.6, 0.8], [-0.8, 0.6], [0.8, 0.6]]])
W = np.array(
    [
        [1, 0.2, 0.1, -0.3, 0.4, 0.5],
        [-0.2, 0.8, 0.3, 0.1, -0.1, 0.2],
        [0.3, -0.1, 0.2, 0.4, 0.1, -0.2],
        [0.1, 0.2, -0.3, 0.1, 0.5, 0.3],
        [-0.4, 0.1, 0.2, -0.2, 0.3, -0.1],
        [0.2, -0.3, 0.1, 0.4, -0.2, -1],
    ]
)
PROMPTS = Prompts(X, [[0, 2, 1]], 3)
ATTENTION = [0.457976306752, 0.280007797444, 0.081680676063, 0.180335219741]
ANSWER = [0.184754713333, -0.191540917357, 0.006786204024]
LOSS = 0.361981269152180
GRADIENT = [
    [0.0575775469687, 0.0431831602265, 0.0719719337108],
    [-0.1322379342903, -0.0991784507178, -0.1652974178629],
    [0.1632575142231, 0.1224431356673, 0.2040718927788],
    [0.0019962784550, 0.0014972088412, 0.0024953480687],
    [-0.1652537926781, -0.1239403445085, -0.2065672408476],
    [-0.0092450041567, -0.0069337531175, -0.0115562551959],
]


def random_prompts(B=4, N=5, d=3, K=3, seed=0, mixture=0.5):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((B, N + 1, d))
    classes = rng.choice([-1, 1], (B, N)) if K is None else rng.integers(0, K, (B, N))
    prompts = Prompts(x / np.linalg.norm(x, axis=2, keepdims=True), classes, K, mixture)
    return Params(rng.standard_normal((prompts.size, prompts.size))), prompts


def test_golden_values():
    params = Params(W)
    out = nlicl.forward(params, PROMPTS)
    assert PROMPTS.nearest.tolist() == [1] and PROMPTS.targets.tolist() == [2]
    assert_close(out.attention, [ATTENTION], 1e-12)
    assert_close(out.answer, [ANSWER], 1e-12)
    assert_close(out.score, [ANSWER[0]], 1e-12)
    assert out.predicted.tolist() == [0]
    loss, (dW,) = nlicl.loss_and_grad(params, PROMPTS)
    assert_close(loss, LOSS, 1e-14)
    assert_close(dW[:, [0, 1, 5]], GRADIENT, 1e-12)
    assert not dW[:, 2:5].any()
    assert_close(reference.loss(params, PROMPTS[0]), LOSS, 1e-14)
    assert_close(naive_onenn.loss(W.tolist(), X[0].tolist(), [0, 2, 1], 3), LOSS, 1e-14)


@given(st.sampled_from([None, 2, 4]), st.sampled_from(reference.LOSSES), seeds)
def test_the_gradient_is_the_definition_s_complex_step(K, loss, seed):
    if K is None:
        loss = "squared"
    params, prompts = random_prompts(K=K, seed=seed, mixture=0.3)
    value, (dW,) = nlicl.loss_and_grad(params, prompts, loss)
    want = np.zeros(dW.shape)
    for i in np.ndindex(dW.shape):
        moved = params.W.astype(complex)
        moved[i] += 1e-40j
        want[i] = np.mean([reference.loss(Params(moved), prompt, loss).imag for prompt in prompts]) / 1e-40
    assert_close(value, np.mean([reference.loss(params, prompt, loss) for prompt in prompts]), 1e-14)
    assert abs(dW - want).max() <= 1e-13 * max(1, abs(want).max())


@given(st.sampled_from(reference.LOSSES), seeds)
def test_symmetries(loss, seed):
    """Rotations, classes under other names, contexts in another order, a row vector added to all rows of W_21."""
    (W,), prompts = random_prompts(seed=seed)
    rng, d, K = np.random.default_rng(seed), 3, 3
    value, (dW,) = nlicl.loss_and_grad(Params(W), prompts, loss)
    assert abs(dW[d:-1].sum(axis=0)).max() < 1e-14  # 1_K^T of block row 2
    assert not dW[:, d:-1].any()

    R = np.eye(len(W))
    R[:d, :d] = np.linalg.qr(rng.standard_normal((d, d)))[0]
    turned = Prompts(prompts.inputs @ R[:d, :d].T, prompts.classes, K)
    assert_close(nlicl.loss_and_grad(Params(R @ W @ R.T), turned, loss)[0], value, 1e-13)

    order = rng.permutation(K)
    P = np.eye(len(W))
    P[d:-1, d:-1] = np.eye(K)[:, order].T  # row c of the new code is row order[c] of the old
    named = Prompts(prompts.inputs, np.argsort(order)[prompts.classes], K)
    assert_close(nlicl.loss_and_grad(Params(P @ W @ P.T), named, loss)[0], value, 1e-13)

    order = rng.permutation(prompts.length)
    other = Prompts(prompts.inputs[:, [*order, prompts.length]], prompts.classes[:, order], K)
    assert_close(nlicl.loss_and_grad(Params(W), other, loss)[0], value, 1e-13)

    shifted = W.copy()
    shifted[d:-1] += rng.standard_normal(len(W))
    assert_close(nlicl.loss_and_grad(Params(shifted), prompts, loss)[0], value, 1e-13)


def test_two_classes_are_binary_labels_at_half_the_loss():
    (W,), binary = random_prompts(K=None, seed=3)
    two = Prompts(binary.inputs, (1 - binary.classes) // 2, 2)  # +1 is class 0, whose code is (1/2, -1/2)
    rows = np.zeros((6, 5))  # from the binary W's rows, y, to the two rows of a code
    rows[:3, :3] = np.eye(3)
    rows[3, 3], rows[4, 3], rows[5, 4] = 1, -1, 1
    wide = rows @ W @ rows.T
    assert_close(nlicl.loss_and_grad(Params(wide), two)[0], nlicl.loss_and_grad(Params(W), binary)[0] / 2, 1e-14)


def test_an_answer_near_enough_to_a_code_names_its_class():
    """||l - u_c|| < 1/sqrt(2) will do, and no larger number: l = u_c + (1 +- 1e-6)(e_k - e_c)/2."""
    u = codes(np.arange(3), 3)
    for c, k in ((0, 1), (2, 0), (1, 2)):
        step = (np.eye(3)[k] - np.eye(3)[c]) / 2
        assert np.argmax(u[c] + (1 - 1e-6) * step) == c and np.argmax(u[c] + (1 + 1e-6) * step) == k
        assert abs(np.linalg.norm(step) - 1 / np.sqrt(2)) < 1e-15


def test_the_nearest_context_comes_from_the_data():
    inputs = np.array([[[2.0, 0], [0, 1], [0, 1], [0.1, 0.9]]])
    prompts = Prompts(inputs, [[0, 1, 0]], 2)
    assert prompts.nearest.tolist() == [1]  # the first of two; <x_j, x_0> would name the same, scores need not
    far = Prompts(np.array([[[9.0, 0], [0.5, 0], [1, 0]]]), [[0, 1]], 2)
    assert far.nearest.tolist() == [1] and (far.inputs[0, :2] @ far.inputs[0, 2]).argmax() == 0
    params = Params(np.diag([5.0, 0, 0, 0, 0]))
    assert nlicl.forward(params, far).attention[0].argmax() == 0
    assert far[0].c == 1


@pytest.mark.parametrize(
    "dtype, factors", [(np.float64, (1e-300, 1e-160, 1e160, 1e307)), (np.float32, (1e-36, 1e-25, 1e25, 1e37))]
)
def test_the_nearest_context_is_found_where_squares_overflow_or_vanish(dtype, factors):
    x = np.random.default_rng(5).standard_normal((20, 6, 3)).astype(dtype)
    classes = np.zeros((20, 5), int)
    wanted = Prompts(x, classes, 2).nearest
    assert len(set(wanted.tolist())) == 5
    for factor in factors:
        np.testing.assert_array_equal(Prompts(x * dtype(factor), classes, 2).nearest, wanted)
    x[:, 1] = x[:, 3] = x[:, -1]  # no distance at all: the first of them
    assert (Prompts(x, classes, 2).nearest == 1).all()


def test_copies_of_cast_prompts_keep_their_nearest_contexts():
    x = np.zeros((1, 3, 1))
    x[0, :, 0] = 1 + 3e-9, 1 + 1e-9, 1
    prompts = Prompts(x, np.array([[0, 1]]), 2).cast(np.dtype(np.float32))
    for one in (prompts, pickle.loads(pickle.dumps(prompts)), copy.deepcopy(prompts), prompts[:]):
        assert one.nearest.tolist() == [1] and not one.nearest.flags.writeable


def test_prompts_are_what_they_were_made_of():
    _, prompts = random_prompts()
    prompt = prompts[-1]
    assert (prompt.d, prompt.width, prompt.kappa, prompts.length, len(prompts), prompts.size) == (3, 3, 2 / 3, 5, 4, 7)
    np.testing.assert_array_equal(prompt.P, prompts.tokens[-1].T)
    np.testing.assert_array_equal(prompt.h_0, [*prompts.inputs[-1, -1], 0, 0, 0, 1])
    np.testing.assert_array_equal(prompt.X, prompts.inputs[-1].T)
    np.testing.assert_array_equal(prompt.V[:, :-1], codes(prompts.classes[-1], 3).T)
    np.testing.assert_array_equal(prompt.target, codes(prompts.targets, 3)[-1])
    assert prompt.c == prompts.targets[-1]
    for other in (prompts[1:3], prompts[[1, 2]], copy.deepcopy(prompts)[1:3], pickle.loads(pickle.dumps(prompts))[1:3]):
        np.testing.assert_array_equal(other.tokens, prompts.tokens[1:3])
        np.testing.assert_array_equal(other.nearest, prompts.nearest[1:3])
    single = prompts.cast(np.dtype(np.float32))
    assert single.tokens.dtype == np.float32 and single.cast(np.dtype(np.float32)) is single
    np.testing.assert_array_equal(single.nearest, prompts.nearest)
    assert repr(prompts) == "Prompts(B=4, N=5, d=3, K=3, float64)"
    binary = random_prompts(K=None)[1]
    assert binary[0].kappa == 1 and binary[0].c in (-1, 1) and "binary" in repr(binary)
    assert "W (7, 7)" in repr(random_prompts()[0])
    with pytest.raises(ValueError):
        prompts.tokens[0, 0, 0] = 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"inputs": np.ones((2, 4))}, r"inputs has shape \(2, 4\); expected 3 axes"),
        ({"inputs": np.ones((2, 1, 3))}, r"expected \(B, N\+1, d\) with B >= 1"),
        ({"inputs": np.ones((2, 4, 3), int)}, "inputs .*expected a floating dtype"),
        ({"inputs": np.full((2, 4, 3), np.nan)}, r"inputs\[0, 0, 0\] is nan"),
        ({"classes": np.ones((2, 4), int)}, r"classes has shape \(2, 4\); expected \(2, 3\)"),
        ({"classes": np.ones((2, 3))}, "classes .*expected integers"),
        ({"classes": np.array([[0, 1, 2], [0, 3, 1]])}, r"classes\[1, 1\] is 3; expected classes from 0 to 2"),
        (
            {"K": None, "classes": np.array([[1, -1, 1], [0, 1, 1]])},
            r"classes\[1, 0\] is 0; expected labels -1 and \+1",
        ),
        ({"K": 1}, "K is 1; expected at least 2"),
        ({"mixture": 1.5}, "mixture is 1.5; expected a finite number from 0 to 1"),
    ],
)
def test_prompts_refuse(change, message):
    right = {"inputs": np.ones((2, 4, 3)), "classes": np.array([[0, 1, 2], [0, 2, 1]]), "K": 3}
    with pytest.raises((ValueError, TypeError), match=message):
        Prompts(**(right | change))


def test_steps_refuse():
    params, prompts = random_prompts()
    binary_params, binary = random_prompts(K=None)
    for call, message in (
        (
            lambda: nlicl.loss_and_grad(Params(params.W[:5, :5]), prompts),
            r"params.W has shape \(5, 5\); expected \(7, 7\), as",
        ),
        (lambda: nlicl.loss_and_grad(Params(params.W[:5]), prompts), r"expected \(E, E\) with E = d \+ K \+ 1"),
        (lambda: nlicl.loss_and_grad(Params(params.W.astype(np.float32)), prompts), "expected one dtype"),
        (lambda: nlicl.loss_and_grad(Params(params.W.astype(complex)), prompts), "expected a floating dtype"),
        (lambda: nlicl.loss_and_grad(Params(params.W.astype(np.longdouble)), prompts), "expected float32 or float64"),
        (lambda: nlicl.loss_and_grad(Params(np.inf * params.W), prompts), r"params.W\[0, 0\] is -?inf"),
        (
            lambda: nlicl.loss_and_grad(params, prompts, "hinge"),
            "loss is 'hinge'; expected one of 'squared', 'cross-entropy'",
        ),
        (lambda: nlicl.loss_and_grad(binary_params, binary, "squentropy"), "loss is 'squentropy' with binary labels"),
        (lambda: nlicl.loss_and_grad(Params(np.full((7, 7), 1.7e308)), prompts), "not finite although parameters"),
        (lambda: nlicl.forward(Params(np.full((7, 7), 1.7e308)), prompts), "an answer is not finite"),
        (lambda: reference.loss(binary_params, binary[0], "mixture"), "'mixture' with binary labels"),
        (lambda: reference.forward(params, binary[0]), r"params.W has shape \(7, 7\); expected \(5, 5\)"),
        (lambda: NEAREST.check_params(W), "expected nlicl.papers.onenn2024.Params"),
    ):
        with pytest.raises((ValueError, TypeError, ArithmeticError), match=message), np.errstate(all="ignore"):
            call()
