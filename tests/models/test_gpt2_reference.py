"""GPT-2's definition: what must hold of any such model, in every dtype it promises, and what it refuses."""

import mpmath
import numpy as np
import pytest
from draws import LOSSES, seeds
from gpt2_draws import Gpt2Sizes, gpt2_params, gpt2_problem, gpt2_prompts
from hypothesis import given
from hypothesis import strategies as st

from nlicl.models.gpt2 import reference
from nlicl.models.gpt2.prompts import Params, Prompt, Prompts, interleaved

EPS = np.finfo(float).eps
few = st.integers(1, 4)
sizes = st.builds(Gpt2Sizes, few, st.integers(1, 7), few, few, few, few, st.integers(1, 9), st.integers(0, 2))
DTYPES = [np.float32, np.float64, np.longdouble, np.complex64, np.complex128, np.clongdouble]


def assert_close(got, want, atol):
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)


def as_dtype(p, prompt, dtype):
    return Params(*(w.astype(dtype) for w in p)), Prompt(
        prompt.tokens.astype(dtype), prompt.z, prompt.reads, prompt.causal
    )


def read_at(prompt, *reads, tokens=None, causal=None):
    """The same prompt, read there."""
    tokens = prompt.tokens if tokens is None else tokens
    return Prompt(tokens, np.ones(len(reads)), reads, prompt.causal if causal is None else causal)


def shaken(p, seed):
    """LayerNorm divides by the root of variance + epsilon: where a token's variance is tiny, rounding is blown up. Positions
    of order 1 keep it away from that; of one number it is zero, and what comes out is beta."""
    return p._replace(wpe=p.wpe + 3 * np.random.default_rng([seed, 13]).normal(size=p.wpe.shape))


# ---------------------------------------------------------------- attention


@given(sizes, seeds, st.booleans())
def test_attention_is_a_mean_over_the_tokens_that_are_seen(size, seed, causal):
    p, x = gpt2_problem(size, seed, causal=causal)
    A = reference.forward(p, x[0]).attention
    assert A.shape == (size.L, size.H, size.T, size.T) and (A >= 0).all()
    assert_close(A.sum(-1), np.ones(A.shape[:-1]), 8 * EPS)
    assert not causal or not A[..., np.triu(np.ones((size.T, size.T), bool), 1)].any()


@given(sizes, seeds, st.data())
def test_causal_means_later_tokens_do_not_matter(size, seed, data):
    """To the bits: they are nowhere in the sums, nor in the row maximum."""
    p, x = gpt2_problem(size, seed)
    read = data.draw(st.integers(0, size.T - 1))
    other = x[0].tokens.copy()
    other[read + 1 :] *= -100
    one = reference.forward(p, read_at(x[0], read))
    assert one.score == reference.forward(p, read_at(x[0], read, tokens=other)).score
    without = reference.forward(p, read_at(x[0], read, tokens=x[0].tokens[: read + 1]))
    assert_close(without.stream, one.stream[:, : read + 1], 1e-9)


def test_without_a_mask_later_tokens_matter():
    p, x = gpt2_problem(Gpt2Sizes())
    other = x[0].tokens.copy()
    other[-1] += 1
    for causal in (True, False):
        change = [reference.forward(p, read_at(x[0], 2, tokens=t, causal=causal)).score for t in (x[0].tokens, other)]
        assert (change[0] == change[1]) == causal


@given(sizes, seeds, st.randoms(use_true_random=False))
def test_without_a_mask_the_order_is_in_the_positions_alone(size, seed, random):
    """Tokens permuted together with their positions: the same streams, permuted."""
    p, x = gpt2_problem(size, seed, causal=False)
    p = shaken(p, seed)
    order = list(range(size.T))
    random.shuffle(order)
    moved = p._replace(wpe=np.concatenate([p.wpe[order], p.wpe[size.T :]]))
    want = reference.forward(p, x[0])
    got = reference.forward(moved, read_at(x[0], *range(size.T), tokens=x[0].tokens[order]))
    assert_close(got.stream, want.stream[:, order], 1e-9)
    assert_close(got.attention, want.attention[:, :, order][..., order], 1e-9)
    assert_close(got.score[order.index(size.T - 1)], want.score[0], 1e-8)


def test_positions_matter():
    p, x = gpt2_problem(Gpt2Sizes(), causal=False)
    order = [1, 0, 2, 3, 4, 5]
    assert (
        abs(reference.forward(p, x[0]).score - reference.forward(p, read_at(x[0], 5, tokens=x[0].tokens[order])).score)
        > 1e-3
    )


@given(sizes, seeds, st.booleans())
def test_a_constant_in_a_row_of_scores_is_nothing(size, seed, causal):
    """b_k adds q_t . b_k to every score of row t."""
    p, x = gpt2_problem(size, seed, causal=causal)
    p = shaken(p, seed)
    b_qkv = p.b_qkv.copy()
    b_qkv[:, 1] += 2
    one, other = (reference.forward(q, x[0]) for q in (p, p._replace(b_qkv=b_qkv)))
    assert_close(other.attention, one.attention, 1e-10)
    assert_close(other.score, one.score, 1e-8)


@given(st.integers(1, 6), seeds, st.booleans())
def test_softmax_of_shifted_scores(T, seed, causal):
    S = np.random.default_rng(seed).normal(size=(2, T, T))
    assert_close(reference.softmax(S + 50, causal), reference.softmax(S, causal), 1e-13)
    S[:, :, 0] = 1e4  # one wins
    assert (reference.softmax(S, causal)[:, :, 0] == 1).all()


def test_scores_of_a_head_are_divided_by_the_root_of_its_own_width():
    p, x = gpt2_problem(Gpt2Sizes(T=2, L=1, H=2, D=8))
    n = reference.layernorm(x[0].tokens @ p.W_in.T + p.b_in + p.wpe[:2], p.gamma_1[0], p.beta_1[0])
    for h in range(2):
        q, k = (p.W_qkv[0, i, h] @ n.T + p.b_qkv[0, i, h][:, None] for i in (0, 1))
        s = q[:, 1] @ k / 8**0.5
        want = 1 / (1 + np.exp(s[0] - s[1]))
        assert_close(reference.forward(p, x[0]).attention[0, h, 1, 1], want, 1e-14)


@given(sizes, seeds, st.booleans())
def test_one_token_attends_to_itself(size, seed, causal):
    """T = 1: what W_q and W_k are does not matter."""
    p, x = gpt2_problem(size._replace(T=1), seed, causal=causal)
    W_qkv = p.W_qkv.copy()
    W_qkv[:, :2] *= -3
    out = reference.forward(p._replace(W_qkv=W_qkv), x[0])
    assert (out.attention == 1).all() and out.score == reference.forward(p, x[0]).score


@given(sizes, seeds)
def test_heads_have_no_order(size, seed):
    """With their columns of W_o they may change places."""
    p, x = gpt2_problem(size, seed)
    p = shaken(p, seed)
    L, H, D, C = size.L, size.H, size.D, size.C
    W_o = p.W_o.reshape(L, C, H, D)[:, :, ::-1].reshape(L, C, C)
    turned = p._replace(W_qkv=p.W_qkv[:, :, ::-1], b_qkv=p.b_qkv[:, :, ::-1], W_o=W_o)
    one, other = reference.forward(p, x[0]), reference.forward(turned, x[0])
    assert_close(other.attention, one.attention[:, ::-1], 1e-10)
    assert_close(other.score, one.score, 1e-8)


# ---------------------------------------------------------------- LayerNorm, gelu, residuals


@given(st.integers(2, 9), seeds, st.floats(0.01, 100))
def test_layernorm_has_mean_beta_and_variance_one(C, seed, scale):
    rng = np.random.default_rng(seed)
    x = scale * rng.normal(size=(3, C)) + 5
    var = x.var(-1)
    y = reference.layernorm(x, np.ones(C), np.full(C, 0.7))
    assert_close(y.mean(-1), np.full(3, 0.7), 1e-11)
    assert_close(y.var(-1), var / (var + 1e-5), 1e-9)
    gamma, beta = rng.normal(size=(2, C))
    assert_close(reference.layernorm(x, gamma, beta), gamma * (y - 0.7) + beta, 1e-11)


@given(st.integers(2, 9), seeds, st.floats(0.1, 1e4))
def test_layernorm_knows_neither_shift_nor_scale(C, seed, scale):
    """But for epsilon, which is scaled along."""
    rng = np.random.default_rng(seed)
    x, gamma, beta = rng.normal(size=(3, C))
    x = x + np.linspace(-1, 1, C) * 3
    want = reference.layernorm(x, gamma, beta)
    assert_close(reference.layernorm(x + 100, gamma, beta), want, 1e-10)
    less = np.sqrt((x.var() + 1e-5) / (x.var() + 1e-5 / scale**2))
    assert_close(reference.layernorm(scale * x, gamma, beta) - beta, less * (want - beta), 1e-12)


def test_layernorm_of_one_number_or_of_equal_ones_is_beta():
    assert reference.layernorm(np.array([[3.0]]), np.array([2.0]), np.array([0.25])) == 0.25
    np.testing.assert_array_equal(
        reference.layernorm(np.full((2, 4), 7.0), np.ones(4), np.arange(4.0)), [np.arange(4.0)] * 2
    )


@given(seeds)
def test_gelu_less_its_mirror_is_the_identity(seed):
    """gelu(u) - gelu(-u) = u, as x Phi(x) has it; and from that it differs by less than 5e-4."""
    from math import erf, sqrt

    u = np.random.default_rng(seed).normal(size=20) * 4
    assert_close(reference.gelu(u) - reference.gelu(-u), u, 1e-14)
    assert_close(reference.gelu(u), u / 2 * (1 + np.array([erf(v / sqrt(2)) for v in u])), 5e-4)


def test_gelu_is_the_approximation_with_tanh():
    """To 30 digits: its constants, and that it is not erf's, which is 1.5e-4 away at 1."""
    with mpmath.workdps(30):
        for u in (-2.5, 0.5, 1.0, 3.0):
            inner = mpmath.sqrt(2 / mpmath.pi) * (u + mpmath.mpf("0.044715") * mpmath.mpf(u) ** 3)
            assert abs(reference.gelu(np.array([u]))[0] - u / 2 * (1 + mpmath.tanh(inner))) < 1e-15
    assert abs(reference.gelu(np.array([1.0]))[0] - 0.8413447460685429) > 1e-4


@given(sizes, seeds)
def test_blocks_that_write_nothing_leave_the_stream(size, seed):
    p, x = gpt2_problem(size, seed)
    silent = p._replace(**{name: 0 * getattr(p, name) for name in ("W_o", "b_o", "W_pr", "b_pr")})
    out = reference.forward(silent, x[0])
    assert (out.stream == out.stream[0]).all()
    first = x[0].tokens @ p.W_in.T + p.b_in + p.wpe[: size.T]
    assert_close(out.stream[0], first, 1e-13)
    y = reference.layernorm(out.stream[0, -1:], p.gamma_f, p.beta_f)
    assert_close(out.score, y @ p.w_out + p.b_out, 1e-13)


# ---------------------------------------------------------------- reads, losses, batches


@given(sizes, seeds, st.booleans(), st.data())
def test_reads_are_read_one_by_one(size, seed, causal, data):
    p, x = gpt2_problem(size, seed, causal=causal)
    every = reference.forward(p, read_at(x[0], *range(size.T)))
    assert every.score.shape == (size.T,)  # R = T
    some = sorted(data.draw(st.sets(st.integers(0, size.T - 1), min_size=1)))
    np.testing.assert_allclose(
        reference.forward(p, read_at(x[0], *some)).score, every.score[some], rtol=1e-12, atol=1e-12
    )
    assert_close(reference.forward(p, x[0]).score, every.score[-1:], 1e-12)  # the last one, if nothing else is said


@given(sizes, seeds, st.sampled_from(LOSSES))
def test_the_loss_is_the_mean_over_what_is_read(size, seed, loss):
    reads = tuple(range(size.T))
    p, x = gpt2_problem(size, seed, reads=reads)
    F, z = reference.forward(p, x[0]).score, x[0].z
    each = {
        "hinge": np.maximum(0, 1 - z * F),
        "logistic": np.logaddexp(0, -z * F),
        "squared": (F - z) ** 2 / 2,
    }[loss]
    value, margins = reference.evaluate(p, x[0], loss)
    assert value == reference.loss(p, x[0], loss)
    assert_close(value, each.mean(), 1e-14 * (1 + each.mean()))
    np.testing.assert_array_equal(margins, 1 - z * F if loss == "hinge" else [])


@given(sizes, seeds)
def test_a_batch_has_no_order(size, seed):
    p, x = gpt2_problem(size, seed)
    order = np.random.default_rng(seed).permutation(size.B)
    turned = x[order]
    for i, j in enumerate(order):
        assert reference.loss(p, turned[i]) == reference.loss(p, x[int(j)])


@given(sizes, seeds)
def test_positions_beyond_the_prompt_do_not_matter(size, seed):
    p, x = gpt2_problem(size, seed)
    assert reference.loss(p, x[0]) == reference.loss(p._replace(wpe=p.wpe[: size.T]), x[0])


@given(few, few, few, few, seeds)
def test_interleaved_tokens_are_the_same_numbers(B, l, d_X, d_Y, seed):
    tokens = np.random.default_rng(seed).normal(size=(B, l + 1, d_X + d_Y))
    tokens[:, -1, d_X:] = 0
    apart = interleaved(tokens, d_X)
    assert apart.shape == (B, 2 * l + 1, d_X + d_Y)
    np.testing.assert_array_equal(apart[:, ::2, :d_X], tokens[:, :, :d_X])
    np.testing.assert_array_equal(apart[:, 1::2, d_X:], tokens[:, :-1, d_X:])
    assert not apart[:, ::2, d_X:].any() and not apart[:, 1::2, :d_X].any()


# ---------------------------------------------------------------- dtypes and derivatives


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_dtype_is_kept(loss, dtype):
    p, x = gpt2_problem(Gpt2Sizes(), 4, reads=(1, 5))
    q, prompt = as_dtype(p, x[0], dtype)
    for result in [*reference.forward(q, prompt), reference.loss(q, prompt, loss)]:
        assert np.asarray(result).dtype == dtype
    assert abs(reference.loss(q, prompt, loss) - reference.loss(p, x[0], loss)) < 300 * max(np.finfo(dtype).eps, EPS)


def test_extended_precision_is_used():
    """The same numbers in float64 and in longdouble: half of float64's digits more would not do."""
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("numpy.longdouble is no longer than float64 here")
    p, x = gpt2_problem(Gpt2Sizes(), 4)
    high = reference.loss(*as_dtype(p, x[0], np.longdouble), "logistic")
    higher = reference.loss(*as_dtype(p, x[0], np.clongdouble), "logistic")
    assert 0 < abs(high - reference.loss(p, x[0], "logistic")) < 1e-13
    assert abs(high - higher) < 40 * np.finfo(np.longdouble).eps


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_complex_steps_are_the_slopes(loss, causal):
    """Against central differences in extended precision, along a random direction of each parameter: nothing on the way takes
    a modulus, or compares imaginary parts."""
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("numpy.longdouble is no longer than float64 here")
    p, x = gpt2_problem(Gpt2Sizes(), 6, reads=(0, 3, 5), causal=causal)
    assert np.abs(reference.evaluate(p, x[0], "hinge")[1]).min() > 0.01  # no kink nearby
    q, prompt = as_dtype(p, x[0], np.longdouble)
    r, complex_prompt = as_dtype(p, x[0], complex)
    rng = np.random.default_rng(6)
    for name in Params._fields:
        direction = rng.normal(size=getattr(p, name).shape)
        direction /= np.linalg.norm(direction)
        moved = r._replace(**{name: getattr(r, name) + 1e-100j * direction})
        slope = reference.loss(moved, complex_prompt, loss).imag / 1e-100
        h = np.longdouble(1e-5)
        ends = [reference.loss(q._replace(**{name: getattr(q, name) + s * direction}), prompt, loss) for s in (h, -h)]
        assert abs(slope - (ends[0] - ends[1]) / (2 * h)) < 1e-9, name
        if name not in ("beta_f", "b_out"):
            assert slope != 0, name


def test_a_hinge_that_is_met_has_no_slope():
    p, x = gpt2_problem(Gpt2Sizes(), 6)
    r, prompt = as_dtype(p, x[0], complex)
    sure = r._replace(b_out=np.array([100 * x[0].z[0] + 1e-100j]))
    assert reference.loss(sure, prompt) == 0
    assert reference.loss(r._replace(b_out=-sure.b_out), prompt).real > 50


# ---------------------------------------------------------------- what is refused


def test_the_smallest_of_everything():
    """C = 1: every LayerNorm is its beta, and the read-out sees nothing of the prompt."""
    p, x = gpt2_problem(Gpt2Sizes(B=1, T=1, d=1, L=1, H=1, D=1, M=1, spare=0), 2)
    out = reference.forward(p, x[0])
    assert_close(out.score, p.beta_f @ p.w_out + p.b_out, 1e-15)
    assert [array.shape for array in out] == [(1,), (1, 1, 1, 1), (1, 1, 1), (2, 1, 1)]


def refused(call, error, *words):
    with pytest.raises(error) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".")
    for word in words:
        assert word in said, said


def test_a_prompt_longer_than_the_positions_is_refused():
    p, x = gpt2_params(Gpt2Sizes(spare=0)), gpt2_prompts(Gpt2Sizes(T=7))
    refused(lambda: reference.forward(p, x[0]), ValueError, "prompt.tokens has T = 7", "6, the positions in params.wpe")


def test_tokens_of_another_width_are_refused():
    p, x = gpt2_params(Gpt2Sizes()), gpt2_prompts(Gpt2Sizes(d=5))
    refused(lambda: reference.forward(p, x[0]), ValueError, "params.W_in has shape (6, 4)", "d = 5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"W_qkv": np.ones((2, 3, 2, 2, 6)), "b_qkv": np.ones((2, 3, 2, 2))},
            ("params.W_qkv", "2 heads of width 2", "C"),
        ),
        ({"W_qkv": np.ones((2, 2, 3, 2, 6))}, ("params.W_qkv", "(2, 2, 3, 2, 6)")),
        ({"W_o": np.ones((2, 6, 5))}, ("params.W_o", "(2, 6, 5)")),
        ({"gamma_1": np.ones((3, 6))}, ("L = 3, as params.gamma_1 has",)),
        ({"b_out": np.ones(2)}, ("params.b_out", "(2,)")),
        ({"wpe": np.ones((0, 6))}, ("params.wpe",)),
        ({"w_out": np.full(6, np.nan)}, ("params.w_out",)),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(change, words):
    p, x = gpt2_problem(Gpt2Sizes())
    refused(lambda: reference.forward(p._replace(**change), x[0]), ValueError, *words)


def test_parameters_of_other_dtypes_are_refused():
    p, x = gpt2_problem(Gpt2Sizes())
    refused(lambda: reference.forward(p._replace(b_o=np.ones((2, 6), int)), x[0]), TypeError, "params.b_o")
    refused(lambda: reference.forward(tuple(p), x[0]), TypeError, "params")


def test_a_batch_is_no_prompt():
    p, x = gpt2_problem(Gpt2Sizes())
    refused(lambda: reference.forward(p, x), TypeError, "prompt", "prompts[i]")


@pytest.mark.parametrize(
    ("given_", "error", "words"),
    [
        ({"labels": [1, 1, 1]}, ValueError, ("labels has shape (3,)", "(2, 1)")),
        ({"labels": [[1, 1], [1, 1]]}, ValueError, ("labels has shape (2, 2)", "(2, 1)")),
        ({"labels": [1, 0]}, ValueError, ("labels holds [0]", "-1 or +1")),
        ({"labels": [1, np.nan]}, ValueError, ("labels holds [nan]",)),
        ({"labels": ["a", "b"]}, ValueError, ("labels",)),
        ({"reads": ()}, (ValueError, TypeError), ("reads",)),
        ({"reads": (3,)}, ValueError, ("reads is (3,)", "0 to 2")),
        ({"reads": (-1,)}, ValueError, ("reads is (-1,)", "0 to 2")),
        ({"reads": (1, 0), "labels": np.ones((2, 2))}, ValueError, ("reads", "ascending")),
        ({"reads": (1, 1), "labels": np.ones((2, 2))}, ValueError, ("reads", "once")),
        ({"reads": (0.5,)}, TypeError, ("reads", "integers")),
        ({"reads": 1}, TypeError, ("reads", "integers")),
        ({"reads": [[1]]}, TypeError, ("reads", "integers")),
        ({"causal": 2}, (ValueError, TypeError), ("causal",)),
        ({"tokens": np.ones((2, 3))}, ValueError, ("tokens", "(B, T, d)")),
        ({"tokens": np.ones((2, 0, 4))}, ValueError, ("tokens has shape (2, 0, 4)",)),
        ({"tokens": np.ones((2, 3, 4), int)}, TypeError, ("tokens",)),
        ({"tokens": np.full((2, 3, 4), np.inf)}, ValueError, ("tokens",)),
    ],
)
def test_prompts_that_are_none_are_refused(given_, error, words):
    right = {"tokens": np.ones((2, 3, 4)), "labels": [1, -1], "reads": None, "causal": True}
    assert Prompts(**right).labels.shape == (2, 1)
    refused(lambda: Prompts(**(right | given_)), error, *words)


def test_unknown_losses_are_refused():
    p, x = gpt2_problem(Gpt2Sizes())
    refused(
        lambda: reference.loss(p, x[0], "hinje"),
        ValueError,
        "loss is 'hinje' (did you mean hinge?); expected one of 'hinge'",
    )


def test_what_overflows_is_said():
    p, x = gpt2_problem(Gpt2Sizes())
    refused(
        lambda: reference.forward(p._replace(gamma_f=p.gamma_f * 1e200, w_out=p.w_out * 1e200), x[0]), ValueError, "F"
    )
    refused(lambda: reference.forward(p._replace(W_qkv=p.W_qkv * 1e200), x[0]), ValueError, "score")
