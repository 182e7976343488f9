"""One step of the one-layer transformer of Li et al. 2024: mean hinge loss and the gradients of W_Q, W_K, W_V, W_O and a.

Prompts are codes over the paper's patterns (d_X = d_Y = d/2, beta = 2) and the same prompts as tokens; matrices are Gaussian,
scaled so that attention is spread out and scores are far below 1 in size, as early in training: the hinge is active in every
prompt, so no implementation can save work on inactive ones, and about half of the neurons are. The query does not attend to
itself; m_a = m_b = d.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import peers

from nlicl import Params
from nlicl.kernels.steps import coded, dense, unmerged
from nlicl.models.transformer import reference
from nlicl.papers.li2024 import Problem


class Loss(NamedTuple):
    """Of t = z F: `value(t, functions)`, `slope(t)` in NumPy."""

    value: Callable
    slope: Callable


HINGE = Loss(lambda t, functions: functions.relu(1 - t), lambda t: np.where(t < 1, t.dtype.type(-1), 0))
LOGISTIC = Loss(lambda t, functions: functions.softplus(-t), lambda t: -1 / (1 + np.exp(t)))


def numpy_step(params, tokens, labels, loss=HINGE):
    """The backward pass restates each forward line above the derivative it gives."""
    W_Q, W_K, W_V, W_O, a = params
    P, Q, z = tokens[:, :-1], tokens[:, -1], labels
    q = Q @ W_Q.T
    probes = q @ W_K
    attn = (P @ probes[:, :, None])[:, :, 0]
    attn -= attn.max(axis=1, keepdims=True)
    np.exp(attn, out=attn)
    attn /= attn.sum(axis=1, keepdims=True)
    C = (attn[:, None, :] @ P)[:, 0]
    V = C @ W_V.T
    U = V @ W_O.T
    R = np.maximum(U, 0)
    t = z * (R @ a)

    g = z * loss.slope(t) / len(z)
    da = g @ R  # F = R a
    dU = (g[:, None] * a) * (U > 0)  # R = relu(U)
    dW_O = dU.T @ V  # U = V W_O^T
    dV = dU @ W_O
    dW_V = dV.T @ C  # V = C W_V^T
    dC = dV @ W_V
    ds = (P @ dC[:, :, None])[:, :, 0]  # c = sum_i attn_i p_i
    ds -= (C * dC).sum(axis=1, keepdims=True)
    ds *= attn  # attn = softmax(s)
    dprobes = (ds[:, None, :] @ P)[:, 0]  # s_i = p_i . probe
    dW_K = q.T @ dprobes  # probe = W_K^T q
    dW_Q = (dprobes @ W_K.T).T @ Q  # q = W_Q p_query
    return loss.value(t, peers.NUMPY).mean(), dW_Q, dW_K, dW_V, dW_O, da


def plain_loss(W_Q, W_K, W_V, W_O, a, tokens, z, functions, loss=HINGE):
    """The formula as one writes it, with a key and a value for each token."""
    softmax, relu = functions.softmax, functions.relu
    P, p_query = tokens[:, :-1], tokens[:, -1]
    keys, values, q = P @ W_K.T, P @ W_V.T, p_query @ W_Q.T
    attn = softmax((keys @ q[:, :, None])[:, :, 0])
    v = (attn[:, None, :] @ values)[:, 0]
    return loss.value(z * (relu(v @ W_O.T) @ a), functions).mean()


def probe_loss(W_Q, W_K, W_V, W_O, a, tokens, z, functions, loss=HINGE):
    """The same number without either."""
    softmax, relu = functions.softmax, functions.relu
    P, p_query = tokens[:, :-1], tokens[:, -1]
    probes = p_query @ W_Q.T @ W_K
    attn = softmax((P @ probes[:, :, None])[:, :, 0])
    c = (attn[:, None, :] @ P)[:, 0]
    return loss.value(z * (relu(c @ W_V.T @ W_O.T) @ a), functions).mean()


IMPLEMENTATIONS = peers.table(
    numpy_step,
    plain_loss,
    probe_loss,
    **{"nlicl-coded": peers.Implementation("numba", peers.nlicl_coded, given="codes")},
)


@dataclass(frozen=True)
class Case:
    """Sizes: `B` prompts of `l` contexts and a query, tokens of width `d`, `m` neurons, `M1` + `M2` patterns."""

    name: str
    B: int
    l: int
    d: int
    m: int
    M1: int = 6
    M2: int = 24

    implementations = IMPLEMENTATIONS
    numpy_step = staticmethod(numpy_step)
    loss = staticmethod(reference.loss)

    @property
    def sizes(self):
        """What a table's head says of it."""
        return {"B": self.B, "l": self.l, "d": self.d, "m": self.m}

    @property
    def K(self):
        """Columns of the dictionary: the patterns and the label embedding."""
        return self.M1 + self.M2 + 1

    def prompt_bytes(self, dtype, given="tokens"):
        """Size of the prompts themselves, as tokens or as codes: what memory is compared with."""
        itemsize = np.dtype(dtype).itemsize
        token = {"tokens": itemsize * self.d, "codes": itemsize + 9}[given]  # kappa, two int32, one int8
        return self.B * (self.l + 1) * token

    def costs(self, dtype, given):
        """What a step has to do, as far as is known: with codes if it is given codes, else with tokens, whoever does it."""
        itemsize = np.dtype(dtype).itemsize
        if given == "codes":  # every column of the dictionary lies along an axis of its own
            return coded.costs(self.B, self.l, self.d, self.m, self.K, itemsize, support=self.K)
        sizes = (self.B, self.l, self.d, self.m, itemsize)
        return min(dense.costs(*sizes), unmerged.costs(*sizes), key=lambda costs: costs.multiply_adds)

    def make(self, dtype, seed=0):
        """Parameters and prompts, `peers.Data`; float32 data are the float64 data rounded."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, self.B, self.l, self.d, self.m]))
        d, m = self.d, self.m

        def gaussian(*shape, scale):
            return (scale * rng.standard_normal(shape)).astype(dtype, copy=False)

        params = Params(
            W_Q=gaussian(d, d, scale=d**-0.5),
            W_K=gaussian(d, d, scale=d**-0.5),
            W_V=gaussian(d, d, scale=d**-0.5),
            W_O=gaussian(m, d, scale=d**-0.5),
            a=rng.choice([-1 / m, 1 / m], m).astype(dtype),
        )
        problem = Problem(M1=self.M1, M2=self.M2, d_X=d // 2, d_Y=d // 2)
        codes = problem.sample(self.B, length=self.l, seed=seed)
        codes = replace(codes, dictionary=codes.dictionary.astype(dtype), kappa=codes.kappa.astype(dtype))
        prompts = codes.dense(dtype)
        return peers.Data(params, (prompts.tokens, prompts.labels), prompts, codes)


CASES = (
    Case("paper-256", B=256, l=20, d=60, m=64),
    Case("paper-2000", B=2000, l=20, d=60, m=64),
    Case("contexts-100", B=512, l=100, d=60, m=400),
    Case("contexts-1000", B=128, l=1000, d=120, m=400),
    Case("tiny-1", B=1, l=20, d=60, m=64),
    Case("tiny-64", B=64, l=20, d=60, m=64),
    Case("single", B=1, l=1000, d=256, m=1024),
    Case("wide-64", B=64, l=20, d=1024, m=4096),
)
TINY = Case("tiny", B=256, l=4, d=8, m=8, M1=3, M2=1)
