"""One step of GPT-2 as Li et al. 2024 train it: mean hinge loss, read at the query, and the gradients of all 19 parameters.

Prompts are the tokens of the paper's data model (d_X = d_Y = d/2, beta = 2). Parameters are GPT-2's start with every vector
random as well, the read-out scaled down so that the hinge is active in every prompt: no implementation can save work on
inactive ones. The MLP is 4 C wide.

One token of the last block is read. `plain` computes that block for all tokens, as a user's module does; `probe` computes its
keys and values for all tokens, and everything else of it for the query alone, as our kernels and the NumPy step do.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import peers

from nlicl.kernels.steps import gpt2 as steps
from nlicl.models.gpt2 import reference
from nlicl.models.gpt2.prompts import Params, Prompts
from nlicl.papers.li2024 import Problem

ROOT = (2 / math.pi) ** 0.5
CUBIC = 0.044715


def numpy_step(params, tokens, labels):
    """Each block's backward pass restates its forward lines above the derivatives they give."""
    W, T = params, tokens.shape[1]
    L, _, H, D, C = W.W_qkv.shape
    W_qkv, b_qkv = W.W_qkv.reshape(L, 3, C, C), W.b_qkv.reshape(L, 3, C)
    later = np.triu(np.ones((T, T), bool), 1)
    x = linear(tokens, W.W_in, W.b_in) + W.wpe[:T]
    blocks = []
    for l in range(L):
        rows = slice(0 if l < L - 1 else T - 1, T)  # the tokens whose outputs are needed
        n1, xh1, r1 = layernorm(x, W.gamma_1[l], W.beta_1[l])
        q = split(linear(n1[:, rows], W_qkv[l, 0], b_qkv[l, 0]), H)
        k = split(linear(n1, W_qkv[l, 1], b_qkv[l, 1]), H)
        v = split(linear(n1, W_qkv[l, 2], b_qkv[l, 2]), H)
        A = softmax(q @ k.swapaxes(2, 3) / D**0.5, later[rows])
        o = joined(A @ v)
        x = x[:, rows] + linear(o, W.W_o[l], W.b_o[l])
        n2, xh2, r2 = layernorm(x, W.gamma_2[l], W.beta_2[l])
        u = linear(n2, W.W_fc[l], W.b_fc[l])
        t = np.tanh(ROOT * (u + CUBIC * u * u * u))
        h = u / 2 * (1 + t)
        x = x + linear(h, W.W_pr[l], W.b_pr[l])
        blocks.append((rows, n1, xh1, r1, q, k, v, A, o, n2, xh2, r2, u, t, h))
    y, xh_f, r_f = layernorm(x[:, 0], W.gamma_f, W.beta_f)
    F = y @ W.w_out + W.b_out
    margin = 1 - labels * F

    dF = np.where(margin > 0, -labels, 0) / len(labels)
    G = Params(*(np.empty_like(array) for array in W))
    G.wpe[T:] = 0
    G.w_out[:], G.b_out[:] = dF @ y, dF.sum()  # F = w_out . y + b_out
    dx, G.gamma_f[:], G.beta_f[:] = layernorm_backward(dF[:, None] * W.w_out, xh_f, r_f, W.gamma_f)
    dx = dx[:, None]
    dW_qkv, db_qkv = G.W_qkv.reshape(W_qkv.shape), G.b_qkv.reshape(b_qkv.shape)
    for l in reversed(range(L)):
        rows, n1, xh1, r1, q, k, v, A, o, n2, xh2, r2, u, t, h = blocks[l]
        dh, G.W_pr[l], G.b_pr[l] = linear_backward(dx, h, W.W_pr[l])  # x + W_pr h + b_pr
        du = dh * ((1 + t) / 2 + u / 2 * (1 - t * t) * ROOT * (1 + 3 * CUBIC * u * u))  # h = u/2 (1 + t)
        dn, G.W_fc[l], G.b_fc[l] = linear_backward(du, n2, W.W_fc[l])  # u = W_fc n + b_fc
        dn, G.gamma_2[l], G.beta_2[l] = layernorm_backward(dn, xh2, r2, W.gamma_2[l])  # n = LN_2(x)
        dx = dx + dn
        do, G.W_o[l], G.b_o[l] = linear_backward(dx, o, W.W_o[l])  # x + W_o o + b_o
        do = split(do, H)
        dv = A.swapaxes(2, 3) @ do  # o = A v
        dS = do @ v.swapaxes(2, 3)
        dS -= (A * dS).sum(-1, keepdims=True)  # A = softmax(S)
        dS *= A / D**0.5
        dq, dk = dS @ k, dS.swapaxes(2, 3) @ q  # S_tj = q_t . k_j / sqrt(D)
        dn, dW_qkv[l, 1], db_qkv[l, 1] = linear_backward(joined(dk), n1, W_qkv[l, 1])  # k = W_k n + b_k
        from_v, dW_qkv[l, 2], db_qkv[l, 2] = linear_backward(joined(dv), n1, W_qkv[l, 2])
        dn += from_v
        from_q, dW_qkv[l, 0], db_qkv[l, 0] = linear_backward(joined(dq), n1[:, rows], W_qkv[l, 0])
        dn[:, rows] += from_q
        dn, G.gamma_1[l], G.beta_1[l] = layernorm_backward(dn, xh1, r1, W.gamma_1[l])  # n = LN_1(x)
        dn[:, rows] += dx
        dx = dn
    G.wpe[:T] = dx.sum(0)
    _, G.W_in[:], G.b_in[:] = linear_backward(dx, tokens, W.W_in)  # x = W_in p + b_in + wpe
    return np.where(margin > 0, margin, 0).mean(), *G


def linear(x, W, b):
    """W x + b for every token, as one product."""
    return (x.reshape(-1, x.shape[-1]) @ W.T + b).reshape(*x.shape[:-1], -1)


def linear_backward(dy, x, W):
    rows = dy.reshape(-1, dy.shape[-1])
    return (rows @ W).reshape(x.shape), rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(0)


def layernorm(x, gamma, beta):
    """Also what backward needs: x without mean at variance 1, and what it was multiplied by for that."""
    xh = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt((xh * xh).mean(-1, keepdims=True) + x.dtype.type(reference.EPSILON))
    xh *= r
    return gamma * xh + beta, xh, r


def layernorm_backward(dy, xh, r, gamma):
    g = gamma * dy
    dx = r * (g - g.mean(-1, keepdims=True) - xh * (g * xh).mean(-1, keepdims=True))
    batch = tuple(range(dy.ndim - 1))
    return dx, (dy * xh).sum(batch), dy.sum(batch)


def softmax(S, hidden):
    """Along the last axis, over what is not hidden."""
    S = np.where(hidden, -np.inf, S)
    S -= S.max(-1, keepdims=True)
    np.exp(S, out=S)
    S /= S.sum(-1, keepdims=True)
    return S


def split(x, H):
    """(B, T, C) as heads, (B, H, T, D)."""
    B, T, C = x.shape
    return x.reshape(B, T, H, C // H).swapaxes(1, 2)


def joined(x):
    """Heads side by side."""
    B, H, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, H * D)


def formula(*given, reduced):
    """The loss as one writes it; `reduced` is whether the last block computes for the query alone what is the query's."""
    *params, tokens, z, functions = given
    W_in, b_in, wpe, *stacked, gamma_f, beta_f, w_out, b_out = params
    linear, layernorm, gelu, attention = functions.linear, functions.layernorm, functions.gelu, functions.attention
    T, (L, _, H, _, C) = tokens.shape[1], stacked[2].shape
    x = linear(tokens, W_in, b_in) + wpe[:T]
    for l, block in enumerate(zip(*stacked, strict=True)):
        gamma_1, beta_1, W_qkv, b_qkv, W_o, b_o, gamma_2, beta_2, W_fc, b_fc, W_pr, b_pr = block
        n = layernorm(x, gamma_1, beta_1)
        W_qkv, b_qkv = W_qkv.reshape(3 * C, C), b_qkv.reshape(3 * C)
        if reduced and l == L - 1:
            q = split(linear(n[:, -1:], W_qkv[:C], b_qkv[:C]), H)
            keys_values = linear(n, W_qkv[C:], b_qkv[C:])
            k, v = split(keys_values[..., :C], H), split(keys_values[..., C:], H)
            x = x[:, -1:]
        else:
            qkv = linear(n, W_qkv, b_qkv)
            q, k, v = (split(qkv[..., part * C : (part + 1) * C], H) for part in range(3))
        o = joined(attention(q, k, v, causal=q.shape[2] == T))
        x = x + linear(o, W_o, b_o)
        x = x + linear(gelu(linear(layernorm(x, gamma_2, beta_2), W_fc, b_fc)), W_pr, b_pr)
    F = layernorm(x[:, -1], gamma_f, beta_f) @ w_out + b_out
    return functions.relu(1 - z * F).mean()


IMPLEMENTATIONS = peers.table(numpy_step, partial(formula, reduced=False), partial(formula, reduced=True))


@dataclass(frozen=True)
class Case:
    """Sizes: `B` prompts of `l` contexts and a query, tokens of width `d`; `L` blocks of `H` heads, width `C`."""

    name: str
    B: int
    l: int
    d: int = 60
    C: int = 64
    L: int = 3
    H: int = 2
    M1: int = 6
    M2: int = 24

    implementations = IMPLEMENTATIONS
    numpy_step = staticmethod(numpy_step)
    loss = staticmethod(reference.loss)

    @property
    def M(self):
        """Hidden width of the MLP."""
        return 4 * self.C

    @property
    def sizes(self):
        """What a table's head says of it."""
        return {"B": self.B, "T": self.l + 1, "d": self.d, "C": self.C, "L": self.L, "H": self.H, "M": self.M}

    def prompt_bytes(self, dtype, given="tokens"):
        """Size of the prompts themselves."""
        return self.B * (self.l + 1) * self.d * np.dtype(dtype).itemsize

    def costs(self, dtype, given):
        """What a step has to do, as far as is known, whoever does it: in probe form, nothing for what the mask hides."""
        itemsize = np.dtype(dtype).itemsize
        return steps.costs(self.B, self.l + 1, 1, self.d, self.C, self.L, self.H, self.M, itemsize)

    def make(self, dtype, seed=0):
        """Parameters and prompts, `peers.Data`; float32 data are the float64 data rounded."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, self.B, self.l, self.d, self.C, self.L, self.H]))
        T, d, C, M, L, H = self.l + 1, self.d, self.C, self.M, self.L, self.H

        def gaussian(*shape, scale=0.02, mean=0.0):
            return (mean + scale * rng.standard_normal(shape)).astype(dtype, copy=False)

        into_stream = 0.02 / (2 * L) ** 0.5
        params = Params(
            W_in=gaussian(C, d, scale=(3 * d) ** -0.5),
            b_in=gaussian(C),
            wpe=gaussian(T, C),
            gamma_1=gaussian(L, C, mean=1),
            beta_1=gaussian(L, C),
            W_qkv=gaussian(L, 3, H, C // H, C),
            b_qkv=gaussian(L, 3, H, C // H),
            W_o=gaussian(L, C, C, scale=into_stream),
            b_o=gaussian(L, C),
            gamma_2=gaussian(L, C, mean=1),
            beta_2=gaussian(L, C),
            W_fc=gaussian(L, M, C),
            b_fc=gaussian(L, M),
            W_pr=gaussian(L, C, M, scale=into_stream),
            b_pr=gaussian(L, C),
            gamma_f=gaussian(C, mean=1),
            beta_f=gaussian(C),
            w_out=gaussian(C, scale=0.1 / C**0.5),
            b_out=gaussian(1),
        )
        problem = Problem(M1=self.M1, M2=self.M2, d_X=d // 2, d_Y=d // 2)
        dense = problem.sample(self.B, length=self.l, seed=seed).dense(dtype)
        prompts = Prompts(dense.tokens, dense.labels)
        return peers.Data(params, (prompts.tokens, prompts.labels[:, 0]), prompts, None)


CASES = (
    Case("gpt2-32", B=32, l=20),
    Case("gpt2-256", B=256, l=20),
    Case("gpt2-tokens-101", B=64, l=100),
)
TINY = Case("tiny-gpt2", B=256, l=3, d=8, C=6, M1=3, M2=1)
