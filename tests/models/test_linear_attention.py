"""Multi-head linear attention: golden values, symmetries, sufficient statistics, and what it says of wrong arguments."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nlicl
from nlicl.models.linear_attention import reference
from nlicl.models.linear_attention.prompts import Params, Prompts, SeparateParams
from nlicl.models.linear_attention.statistics import Statistics
from nlicl.models.linear_attention.steps import check_params

SIZES = st.integers(1, 4)
SEEDS = st.integers(0, 2**31)


def drawn(B=3, N=4, D=3, H=2, R=2, *, separate=False, softmax=False, scale=None, seed=0):
    """Dense parameters and prompts."""
    rng = np.random.default_rng(seed)
    E = D + 1
    tokens = rng.normal(size=(B, N + 1, E))
    tokens[:, -1, -1] = 0
    V = rng.normal(size=(H, E, E))
    rest = (rng.normal(size=(2, H, R, E)) if separate else rng.normal(size=(1, H, E, E))) / np.sqrt(E)
    params = SeparateParams(V, *rest) if separate else Params(V, *rest)
    return params, Prompts(tokens, rng.normal(size=B), softmax, scale)


# ---- Golden values [derived]


TOKENS = np.array([[[1, 0.5, 2], [-2, 1, -1], [0.5, -1, 1], [1, 2, 0]]])
V = np.zeros((2, 3, 3))
V[:, -1] = (0.2, -0.1, 0.5), (-0.3, 0.4, 0.25)
MERGED = Params(
    V, np.array([[(0.1, 0.2, 0), (-0.1, 0.3, 0), (0.05, -0.2, 0)], [(0.3, -0.1, 0), (0.2, 0.1, 0), (-0.15, 0.1, 0)]])
)
SEPARATE = SeparateParams(
    V, np.array([[(0.4, -0.2, 0.1)], [(0.1, 0.3, -0.2)]]), np.array([[(0.5, 0.1, 0)], [(-0.2, 0.4, 0.0)]])
)
GOLDEN = {
    ("merged", False): (0.2, 1.69, {
        "V": [(-1.3433333333, -3.0116666667, 0.3033333333), (-0.7366666667, -2.1233333333, -0.3033333333)],
        "W": [(-3.0333333333, 0.975, -3.4666666667), (0.65, -1.95, 0.2166666667)]}),
    ("merged", True): (0.1761312228394, 1.7526285391406, {
        "V": [(-0.5194360751294, -1.2459639003173, -0.2276400950242), (-0.3012500316424, -0.9175644094212, -0.3863505056741)],
        "W": [(-0.3421505688026, 0.2128592147392, -0.4416263673860), (0.1315194154458, -0.1926439991586, 0.1483337452274)]}),
    ("separate", False): (0.6025, 0.80550625, {
        "V": [(-1.2355583333, 0.565425, -1.0889666667), (0.098725, -0.744925, 0.37695)],
        "K": [(-1.4659166667, 0.4711875, -1.6753333333), (0.26925, -0.80775, 0.08975)],
        "Q": [(-1.211625, -2.42325, 0), (-0.3889166667, -0.7778333333, 0)]}),
    ("separate", True): (0.3037001852938, 1.4311332466661, {
        "K": [(-0.2527594872804, 0.1975371660606, -0.3650925067398), (0.1041161413577, -0.1333087388908, 0.1050404158040)],
        "Q": [(-0.2530292554261, -0.5060585108522, 0), (-0.0843151511538, -0.1686303023076, 0)]}),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "softmax"), GOLDEN)
def test_the_golden_prompt(kind, softmax):
    yhat, loss, gradients = GOLDEN[kind, softmax]
    params, prompts = MERGED if kind == "merged" else SEPARATE, Prompts(TOKENS, [1.5], softmax)
    out = nlicl.forward(params, prompts)
    assert out.score == pytest.approx(yhat, abs=1e-12) and out.attention.shape == (1, 2, 4)
    value, grads = nlicl.loss_and_grad(params, prompts)
    assert value == pytest.approx(loss, abs=1e-12) and reference.loss(params, prompts[0]) == pytest.approx(
        loss, abs=1e-12
    )
    for name, want in gradients.items():
        got = getattr(grads, name)
        got = got[:, -1] if name == "V" else got[:, 0] if name in "KQ" else got[:, :, 0]
        np.testing.assert_allclose(got, want, atol=6e-11)
    if kind == "merged":  # x_query = (1, 2, 0)
        np.testing.assert_allclose(grads.W[:, :, 1], 2 * grads.W[:, :, 0], rtol=1e-14)
    assert not grads[-1][..., -1].any() and not grads.V[:, :-1].any()


# ---- Derivatives


@settings(max_examples=12)
@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.booleans(), st.booleans(), st.sampled_from(["squared", "logistic"]), SEEDS)
def test_the_gradient_is_the_complex_step(B, N, D, H, R, separate, softmax, loss, seed):
    """1e-13 of what it is made of: where yhat - y_query is a small difference, the digits that it lost are lost."""
    params, prompts = drawn(B, N, D, H, R, separate=separate, softmax=softmax, seed=seed)
    if loss == "logistic":
        prompts = Prompts(prompts.tokens, np.sign(prompts.labels), softmax)
    value, grads = nlicl.loss_and_grad(params, prompts, loss)
    each = np.array([reference.loss(params, prompt, loss) for prompt in prompts])
    assert value == pytest.approx(each.mean(), rel=1e-12, abs=1e-13)
    yhat = nlicl.forward(params, prompts).score
    weights = (
        abs(nlicl.forward(params, prompts).attention).sum()
        * (1 + abs(yhat).max())
        * (1 + abs(prompts.tokens).max()) ** 3
    )
    rng = np.random.default_rng(seed)
    for name, array in params._asdict().items():
        for _ in range(4):
            index = tuple(rng.integers(array.shape))
            moved = array.astype(complex)
            moved[index] += 1e-40j
            want = np.mean([reference.loss(params._replace(**{name: moved}), p, loss).imag for p in prompts]) / 1e-40
            assert abs(getattr(grads, name)[index] - want) <= 1e-13 * (weights + abs(want))


def test_float32_is_float64_rounded():
    for separate in (False, True):
        for softmax in (False, True):
            params, prompts = drawn(B=7, separate=separate, softmax=softmax)
            low = type(params)(*(array.astype(np.float32) for array in params))
            value, grads = nlicl.loss_and_grad(low, prompts.cast(np.dtype(np.float32)))
            want, wanted = nlicl.loss_and_grad(params, prompts)
            assert value.dtype == np.float32 and value == pytest.approx(want, rel=1e-4)
            for one, other in zip(grads, wanted, strict=True):
                assert one.dtype == np.float32
                np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * abs(other).max())


# ---- Symmetries [derived]


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("separate", [False, True])
def test_the_order_of_contexts_does_not_matter(separate, softmax):
    params, prompts = drawn(N=6, separate=separate, softmax=softmax)
    order = np.append(np.random.default_rng(1).permutation(6), 6)
    turned = Prompts(prompts.tokens[:, order], prompts.labels, softmax)
    np.testing.assert_allclose(nlicl.forward(params, turned).score, nlicl.forward(params, prompts).score, rtol=1e-12)


@pytest.mark.parametrize("softmax", [False, True])
def test_inputs_may_be_turned_with_the_weights(softmax):
    """x -> R x with W -> blockdiag(R, 1) W blockdiag(R, 1)^T and v_x -> R v_x."""
    params, prompts = drawn(softmax=softmax)
    R = np.eye(4)
    R[:3, :3] = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = Prompts(prompts.tokens @ R.T, prompts.labels, softmax)
    rows = params.V.copy()
    rows[:, -1] = params.V[:, -1] @ R.T
    score = nlicl.forward(Params(rows, R @ params.W @ R.T), turned).score
    np.testing.assert_allclose(score, nlicl.forward(params, prompts).score, rtol=1e-12)


def test_a_head_s_scale_may_move_from_keys_to_values():
    params, prompts = drawn()
    c = np.array([3.0, -0.25])[:, None, None]
    score = nlicl.forward(Params(c * params.V, params.W / c), prompts).score
    np.testing.assert_allclose(score, nlicl.forward(params, prompts).score, rtol=1e-12)


@pytest.mark.parametrize("softmax", [False, True])
def test_separate_keys_and_queries_merge(softmax):
    """W = K^T Q gives the same predictions and dV; dK = Q dW^T and dQ = K dW."""
    params, prompts = drawn(separate=True, softmax=softmax, R=3)
    merged = Params(params.V, np.einsum("hri,hrj->hij", params.K, params.Q))
    np.testing.assert_allclose(nlicl.forward(params, prompts).score, nlicl.forward(merged, prompts).score, rtol=1e-12)
    (value, grads), (want, wanted) = nlicl.loss_and_grad(params, prompts), nlicl.loss_and_grad(merged, prompts)
    assert value == pytest.approx(want, rel=1e-13)
    np.testing.assert_allclose(grads.V, wanted.V, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(grads.K, np.einsum("hri,hji->hrj", params.Q, wanted.W), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(grads.Q, np.einsum("hri,hij->hrj", params.K, wanted.W), rtol=1e-11, atol=1e-12)


def test_the_scale_is_1_over_N_unless_it_is_given():
    params, prompts = drawn(N=5)
    plain = Prompts(prompts.tokens, prompts.labels, scale=1.0)
    np.testing.assert_allclose(nlicl.forward(params, plain).score, 5 * nlicl.forward(params, prompts).score, rtol=1e-14)
    assert prompts.s == prompts[0].scale == 0.2 and plain[0].scale == 1.0


# ---- Statistics


@settings(max_examples=8)
@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.booleans(), SEEDS)
def test_statistics_know_all_that_the_loss_does(B, N, D, H, R, separate, seed):
    params, prompts = drawn(B, N, D, H, R, separate=separate, scale=0.3, seed=seed)
    value, grads = nlicl.loss_and_grad(params, Statistics.of(prompts))
    want, wanted = nlicl.loss_and_grad(params, prompts)
    size = np.mean(prompts.labels**2) + np.mean(nlicl.forward(params, prompts).score ** 2)
    assert abs(value - want) < 1e-12 * size
    for one, other in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * (size + abs(other).max()))


def test_statistics_are_no_prompts():
    params, prompts = drawn()
    found = Statistics.of(prompts)
    assert len(found) == 1 and found.prompts == 3 and "D=3, 3 prompts" in repr(found) and found.length == 0
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.S, found.S)
    with pytest.raises(TypeError, match="no single prompts"):
        found[0]
    with pytest.raises(TypeError, match="no single prompts to predict"):
        nlicl.forward(params, found)
    with pytest.raises(ValueError, match="loss is 'logistic'; expected 'squared'"):
        nlicl.loss_and_grad(params, found, "logistic")
    with pytest.raises(ValueError, match=r"params.V has shape \(1, 3, 3\); expected \(H, 4, 4\)"):
        nlicl.loss_and_grad(Params(np.ones((1, 3, 3)), np.ones((1, 3, 3))), found)
    with pytest.raises(ValueError, match="softmax=True; expected linear attention"):
        Statistics.of(Prompts(prompts.tokens, prompts.labels, softmax=True))
    with pytest.raises(ValueError, match=r"S has shape \(2, 2\); expected \(3, 3\), as E is 2"):
        Statistics(2, np.eye(2), np.ones(3), 1.0)


# ---- Prompts and errors


def test_prompts_are_kept_as_they_are():
    _, prompts = drawn(softmax=True, scale=0.5)
    for again in (pickle.loads(pickle.dumps(prompts)), copy.deepcopy(prompts), prompts[:]):
        np.testing.assert_array_equal(again.tokens, prompts.tokens)
        assert again.softmax and again.scale == 0.5
    prompt = prompts[1]
    assert (prompt.z, prompt.softmax, prompt.scale, prompt.query_attends) == (prompts.labels[1], True, 0.5, True)
    np.testing.assert_array_equal(prompt.X.T, prompts.tokens[1, :-1, :-1])
    np.testing.assert_array_equal(prompt.y, prompts.tokens[1, :-1, -1])
    np.testing.assert_array_equal(prompt.x_query, prompts.tokens[1, -1, :-1])
    np.testing.assert_array_equal(prompt.P, prompts.tokens[1].T)
    assert len(prompts[[0, 2]]) == 2 and prompts.length == 4 and prompts.cast(np.dtype(np.float64)) is prompts
    assert repr(prompts) == "Prompts(B=3, N=4, D=3, float64, softmax=True, scale=0.5)"
    assert "V (2, 4, 4), W (2, 4, 4), float64" in repr(drawn()[0]) and "K (2, 2, 4)" in repr(drawn(separate=True)[0])


def labelled():
    tokens = drawn()[1].tokens.copy()
    tokens[1, -1, -1] = 2
    return tokens


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tokens": np.ones((2, 3, 4), int)}, TypeError, "tokens has dtype int64; expected a floating dtype"),
        ({"tokens": np.ones((2, 1, 4))}, ValueError, r"tokens has shape \(2, 1, 4\); expected \(B, N\+1, E\)"),
        ({"tokens": np.full((3, 5, 4), np.nan)}, ValueError, "tokens"),
        ({"tokens": labelled()}, ValueError, r"tokens\[1, -1, -1\] is 2.0; expected 0"),
        ({"labels": np.ones(2)}, ValueError, r"labels has shape \(2,\); expected \(3,\)"),
        ({"labels": ["a", "b", "c"]}, TypeError, "labels .*; expected real numbers"),
        ({"softmax": 1}, TypeError, "softmax is 1; expected True or False"),
        ({"scale": 0.0}, ValueError, "scale is 0.0; expected a finite number greater than 0"),
    ],
)
def test_prompts_say_what_is_wrong(arguments, error, message):
    prompts = drawn()[1]
    with pytest.raises(error, match=message):
        Prompts(**{"tokens": prompts.tokens, "labels": prompts.labels, **arguments})


def test_labels_that_the_tokens_dtype_cannot_hold_are_refused():
    tokens = np.zeros((2, 2, 2), np.float32)
    with pytest.raises(
        ValueError, match=r"labels\[1\] is 1e\+300; expected numbers that float32, the dtype of tokens, can hold"
    ):
        Prompts(tokens, np.array([1.0, 1e300]))


def test_steps_say_what_is_wrong():
    params, prompts = drawn()
    wide = drawn(D=4)[0]
    with pytest.raises(
        ValueError, match=r"prompts.tokens has shape \(3, 5, 4\), E = 4; params.V has shape \(2, 5, 5\)"
    ):
        nlicl.loss_and_grad(wide, prompts)
    with pytest.raises(TypeError, match=r"prompts.tokens has dtype float64, params.V float32; expected one dtype"):
        nlicl.loss_and_grad(Params(*(array.astype(np.float32) for array in params)), prompts)
    with pytest.raises(
        TypeError, match=r"params.W has dtype float32, params.V float64; expected float32 or float64, one"
    ):
        nlicl.loss_and_grad(params._replace(W=params.W.astype(np.float32)), prompts)
    with pytest.raises(TypeError, match=r"params.V has dtype float16"):
        check_params(Params(*(array.astype(np.float16) for array in params)))
    with pytest.raises(ValueError, match=r"params.V has shape .*; expected .* at least 2"):
        check_params(Params(np.ones((1, 1, 1)), np.ones((1, 1, 1))))
    with pytest.raises(TypeError, match=r"params is a .*SeparateParams; expected a .*Params\(V, W\)"):
        check_params(drawn(separate=True)[0])
    with pytest.raises(ValueError, match="the loss is not finite although parameters and prompts are"):
        nlicl.loss_and_grad(Params(1e200 * params.V, 1e200 * params.W), prompts)
    with pytest.raises(ValueError, match="a prediction is not finite"):
        nlicl.forward(Params(1e200 * params.V, 1e200 * params.W), prompts)
    with pytest.raises(ValueError, match="the gradient of V is not finite"):
        nlicl.loss_and_grad(
            Params(1e-300 * params.V, 1e300 * params.W), Prompts(1e3 * prompts.tokens, 1e8 * prompts.labels)
        )
    with pytest.raises(ValueError, match="loss is 'hinge'; expected one of 'squared', 'logistic'"):
        nlicl.loss_and_grad(params, prompts, "hinge")


def test_the_definition_says_what_is_wrong():
    params, prompts = drawn()
    with pytest.raises(TypeError, match=r"params is a tuple; expected Params\(V, W\), or SeparateParams\(V, K, Q\)"):
        reference.forward(tuple(params), prompts[0])
    with pytest.raises(ValueError, match="E"):
        reference.forward(drawn(D=4)[0], prompts[0])
    with pytest.raises(ValueError, match="not finite"):
        reference.loss(Params(1e200 * params.V, 1e200 * params.W), prompts[0])
    with pytest.raises(ValueError, match="loss is 'hinge'"):
        reference.loss(params, prompts[0], "hinge")


def test_parameters_say_which_model_is_meant():
    for separate, name in ((False, "linear_attention"), (True, "separate_attention")):
        params, prompts = drawn(separate=separate)
        assert nlicl.loss_and_grad(params, prompts, model=name)[0] == nlicl.loss_and_grad(params, prompts)[0]
    with pytest.raises(TypeError, match=r"params is a .*SeparateParams; expected"):
        nlicl.loss_and_grad(drawn(separate=True)[0], prompts, model="linear_attention")
