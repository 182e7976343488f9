"""GPT-2 by others, in float64, where installed: gradients by torch and jax, and the model from torch's own modules."""

import numpy as np
import pytest
from draws import LOSSES
from gpt2_draws import Gpt2Sizes, gpt2_problem

import nlicl
from nlicl.models.gpt2 import reference
from nlicl.models.gpt2.prompts import Params

TOLERANCE = 1e-12  # relative to each array, in Euclidean norms
SIZES = [
    Gpt2Sizes(),
    Gpt2Sizes(B=1, T=1, d=1, L=1, H=1, D=4, M=1, spare=0),
    Gpt2Sizes(B=40, T=13, d=5, L=3, H=2, D=9, M=33, spare=0),  # several chunks
    Gpt2Sizes(B=3, T=9, d=8, L=1, H=4, D=1, M=16),
]


def reads_of(size, several):
    return tuple(range(0, size.T, 2)) if several else None


cases = pytest.mark.parametrize(
    ("size", "several", "causal", "loss"),
    [
        (s, several, causal, loss)
        for s in SIZES
        for several in (False, True)
        for causal in (True, False)
        for loss in LOSSES
    ],
)


def mean_loss(xp, functions, params, x, loss):
    """The definition by a framework's own functions, every token in every block."""
    softmax, gelu, softplus, asarray = functions
    W = Params(*params)
    L, _, _, D, C = W.W_qkv.shape
    tokens, labels = asarray(x.tokens), asarray(x.labels)
    B, T = tokens.shape[:2]

    def layernorm(x, gamma, beta):
        centred = x - x.mean(-1)[..., None]
        return gamma * centred / xp.sqrt((centred * centred).mean(-1)[..., None] + 1e-5) + beta

    hidden = asarray(np.triu(np.full((T, T), -np.inf if x.causal else 0.0), 1))
    stream = xp.einsum("btd,cd->btc", tokens, W.W_in) + W.b_in + W.wpe[:T]
    for l in range(L):
        n = layernorm(stream, W.gamma_1[l], W.beta_1[l])
        q, k, v = (xp.einsum("btc,hec->bhte", n, W.W_qkv[l, i]) + W.b_qkv[l, i][:, None] for i in range(3))
        A = softmax(xp.einsum("bhte,bhje->bhtj", q, k) / D**0.5 + hidden)
        o = xp.einsum("bhtj,bhje->bthe", A, v).reshape(B, T, C)
        stream = stream + o @ W.W_o[l].T + W.b_o[l]
        u = layernorm(stream, W.gamma_2[l], W.beta_2[l]) @ W.W_fc[l].T + W.b_fc[l]
        stream = stream + gelu(u) @ W.W_pr[l].T + W.b_pr[l]
    F = layernorm(stream[:, list(x.reads)], W.gamma_f, W.beta_f) @ W.w_out + W.b_out
    t = labels * F
    if loss == "hinge":
        return xp.where(1 - t > 0, 1 - t, 0 * t).mean(), F
    return (softplus(-t) if loss == "logistic" else (F - labels) ** 2 / 2).mean(), F


def assert_agrees(p, x, loss, want, want_grads, want_F):
    assert np.abs(1 - x.labels * want_F).min() > 1e-9  # at a kink the comparison would mean nothing
    value, grads = nlicl.loss_and_grad(p, x, loss)
    assert abs(value - want) <= TOLERANCE * abs(want) + 1e-300
    assert_same(nlicl.forward(p, x).score, want_F, "F")
    assert_same(reference.forward(p, x[0]).score, want_F[0], "F by the definition")
    for name, got, expected in zip(Params._fields, grads, want_grads, strict=True):
        assert_same(got, expected, f"d{name}")


def assert_same(got, want, name):
    assert got.shape == want.shape, name
    assert np.linalg.norm(got - want) <= TOLERANCE * np.linalg.norm(want), name


@cases
def test_torch(size, several, causal, loss):
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    p, x = gpt2_problem(size, 3, reads=reads_of(size, several), causal=causal)
    leaves = [torch.tensor(w, requires_grad=True) for w in p]
    functions = (
        lambda s: torch.softmax(s, -1),
        lambda u: functional.gelu(u, approximate="tanh"),
        functional.softplus,
        torch.tensor,
    )
    value, F = mean_loss(torch, functions, leaves, x, loss)
    grads = [grad.numpy() for grad in torch.autograd.grad(value, leaves)]
    assert_agrees(p, x, loss, value.item(), grads, F.detach().numpy())
    if size == SIZES[0]:
        assert all(np.abs(grad).max() > 1e-4 for grad in grads)


@pytest.mark.slow  # jax compiles each case, which takes it seconds
@pytest.mark.parametrize(
    ("several", "causal", "loss"), [(False, True, "hinge"), (True, True, "logistic"), (True, False, "squared")]
)
def test_jax(several, causal, loss):
    jax = pytest.importorskip("jax")
    p, x = gpt2_problem(SIZES[0], 4, reads=reads_of(SIZES[0], several), causal=causal)
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)  # float64, which jax turns into float32 otherwise
    try:
        functions = (
            jax.nn.softmax,
            lambda u: jax.nn.gelu(u, approximate=True),
            jax.nn.softplus,
            jax.numpy.asarray,
        )
        step = jax.jit(
            jax.value_and_grad(lambda leaves: mean_loss(jax.numpy, functions, leaves, x, loss), has_aux=True)
        )
        (value, F), grads = step([jax.numpy.asarray(w) for w in p])
        value, F, grads = float(value), np.asarray(F), [np.asarray(grad) for grad in grads]
    finally:
        jax.config.update("jax_enable_x64", before)
    assert_agrees(p, x, loss, value, grads, F)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_torchs_own_modules_are_the_definition(size, causal):
    """Its TransformerEncoderLayer, with LayerNorm first and GPT-2's gelu, is our block: nothing of ours is in the computation
    but the weights. Its names of the parameters are not ours, and its gradients are compared by them."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    p, x = gpt2_problem(size, 5, causal=causal)
    T, L, C, M = size.T, size.L, size.C, size.M
    options = {"dropout": 0.0, "norm_first": True, "batch_first": True, "dtype": torch.float64}
    blocks = [
        nn.TransformerEncoderLayer(
            C, size.H, M, activation=lambda u: nn.functional.gelu(u, approximate="tanh"), **options
        )
        for _ in range(L)
    ]
    read_in, positions = nn.Linear(size.d, C, dtype=torch.float64), nn.Embedding(T + size.spare, C, dtype=torch.float64)
    last_norm, read_out = nn.LayerNorm(C, dtype=torch.float64), nn.Linear(C, 1, dtype=torch.float64)

    def each(name):
        return [block.get_parameter(name) for block in blocks]

    theirs = Params(
        W_in=read_in.weight, b_in=read_in.bias, wpe=positions.weight,
        gamma_1=each("norm1.weight"), beta_1=each("norm1.bias"),
        W_qkv=each("self_attn.in_proj_weight"), b_qkv=each("self_attn.in_proj_bias"),
        W_o=each("self_attn.out_proj.weight"), b_o=each("self_attn.out_proj.bias"),
        gamma_2=each("norm2.weight"), beta_2=each("norm2.bias"),
        W_fc=each("linear1.weight"), b_fc=each("linear1.bias"), W_pr=each("linear2.weight"), b_pr=each("linear2.bias"),
        gamma_f=last_norm.weight, beta_f=last_norm.bias, w_out=read_out.weight, b_out=read_out.bias,
    )  # fmt: skip
    with torch.no_grad():
        for ours, parameter in zip(p, theirs, strict=True):
            several = isinstance(parameter, list)
            for one, into in zip(ours if several else [ours], parameter if several else [parameter], strict=True):
                into.copy_(torch.tensor(one).reshape(into.shape))
    mask = nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64) if causal else None
    stream = read_in(torch.tensor(x.tokens)) + positions(torch.arange(T))
    streams = [stream]
    for block in blocks:
        streams.append(block(streams[-1], src_mask=mask))
    F = read_out(last_norm(streams[-1][:, -1]))
    nn.functional.softplus(-torch.tensor(x.labels) * F).mean().backward()

    for i in range(min(3, size.B)):
        ours = reference.forward(p, x[i])
        assert_same(ours.stream, np.array([stream[i].detach().numpy() for stream in streams]), "stream")
        assert_same(ours.score, F[i].detach().numpy(), "F")
    _, grads = nlicl.loss_and_grad(p, x, "logistic")
    for name, got, parameter in zip(Params._fields, grads, theirs, strict=True):
        several = isinstance(parameter, list)
        want = np.array([one.grad.numpy() for one in (parameter if several else [parameter])])
        assert_same(got.ravel(), want.ravel(), f"d{name}")
