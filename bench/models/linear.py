"""One step of in-context regression, Huang et al. 2023: mean squared loss and the gradient of Q, all that is trained.

Prompts are the features of their tokens, and the same prompts as tokens, from the paper's data model, half of all tokens one
feature; Q is Gaussian, scaled so that scores are below 1 in size, as early in training. The query does not attend to itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import peers

from nlicl.kernels.steps import regression
from nlicl.papers.huang2023 import Params, Problem, reference


def numpy_step(params, X, y, X_query, y_query):
    """The backward pass restates each forward line above the derivative it gives."""
    (Q,) = params
    probes = X_query @ Q.T
    attn = (X @ probes[:, :, None])[:, :, 0]
    attn -= attn.max(axis=1, keepdims=True)
    np.exp(attn, out=attn)
    attn /= attn.sum(axis=1, keepdims=True)
    yhat = (attn * y).sum(axis=1)
    residual = yhat - y_query

    dyhat = residual / len(y_query)
    ds = y - yhat[:, None]  # yhat = sum_i attn_i y_i, attn = softmax(s)
    ds *= attn
    ds *= dyhat[:, None]
    dprobes = (ds[:, None, :] @ X)[:, 0]  # s_i = x_i . probe
    dQ = dprobes.T @ X_query  # probe = Q x_query
    return (residual * residual).mean() / 2, dQ


def plain_loss(Q, X, y, X_query, y_query, functions):
    """The formula as one writes it, x_i^T Q for each token."""
    attn = functions.softmax((X @ Q @ X_query[:, :, None])[:, :, 0])
    return (((attn * y).sum(1) - y_query) ** 2).mean() / 2


def probe_loss(Q, X, y, X_query, y_query, functions):
    """The same number with Q x_query for each prompt."""
    probes = X_query @ Q.T
    attn = functions.softmax((X @ probes[:, :, None])[:, :, 0])
    return (((attn * y).sum(1) - y_query) ** 2).mean() / 2


def nlicl_counted(data, threads):
    """Features are counted once, as in training again and again on the same prompts."""
    _ = data.codes.counts
    return peers.nlicl_coded(data, threads)


def nlicl_fresh(data, threads):
    """Features are checked and counted in every step, as in training on fresh prompts."""
    return lambda: peers.nlicl_step(data.params, replace(data.codes))


IMPLEMENTATIONS = peers.table(
    numpy_step,
    plain_loss,
    probe_loss,
    **{
        "nlicl-coded": peers.Implementation("numba", nlicl_counted, given="counts"),
        "nlicl-coded-fresh": peers.Implementation("numba", nlicl_fresh, given="features"),
    },
)


@dataclass(frozen=True)
class Case:
    """Sizes: `B` prompts of `N` contexts and a query, inputs of `K` features in `d` dimensions."""

    name: str
    B: int
    N: int
    K: int
    d: int

    implementations = IMPLEMENTATIONS
    numpy_step = staticmethod(numpy_step)
    loss = staticmethod(reference.loss)

    @property
    def sizes(self):
        """What a table's head says of it."""
        return {"B": self.B, "N": self.N, "K": self.K, "d": self.d}

    @property
    def problem(self):
        return Problem(K=self.K, d=self.d, length=self.N)

    def prompt_bytes(self, dtype, given="tokens"):
        """Size of the prompts themselves: tokens; features and omega; or counts, omega and queries."""
        itemsize = np.dtype(dtype).itemsize
        omega = self.K * itemsize
        tokens = (self.N + 1) * (self.d + 1) * itemsize
        return (
            self.B * {"tokens": tokens, "features": 4 * (self.N + 1) + omega, "counts": 8 * self.K + omega + 4}[given]
        )

    def costs(self, dtype, given):
        """What a step has to do, as far as is known, with what it is given, whoever does it.

        Exponentials are those of the features that a prompt of the data model has on average.
        """
        itemsize = np.dtype(dtype).itemsize
        if given == "tokens":
            return regression.costs(self.B, self.N, self.d, itemsize)
        present = float((1 - (1 - self.problem.frequencies) ** self.N).sum())
        costs = regression.coded_costs(self.B, self.K, self.d, itemsize, present=present)
        if given == "features":  # instead of counts features are read, and each context adds 1 to a count
            features = 4 * self.B * (self.N + 1)
            less = self.B * (self.K * itemsize + 4)
            costs = costs._replace(bytes=costs.bytes - less + features, look_ups=self.B * self.N)
        return costs

    def make(self, dtype, seed=0):
        """Parameters and prompts, `peers.Data`; float32 data are the float64 data rounded.

        Formulas get inputs and labels of contexts as arrays of their own: frameworks were up to three times as slow on slices
        of tokens.
        """
        rng = np.random.default_rng(np.random.SeedSequence([seed, self.B, self.N, self.K, self.d]))
        Q = (self.d**-0.5 * rng.standard_normal((self.d, self.d))).astype(dtype, copy=False)
        codes = self.problem.sample(self.B, seed=seed)
        codes = replace(codes, V=codes.V.astype(dtype), omega=codes.omega.astype(dtype))
        prompts = codes.dense(dtype)
        tokens = prompts.tokens
        parts = (tokens[:, :-1, :-1], tokens[:, :-1, -1], tokens[:, -1, :-1], prompts.labels)
        return peers.Data(Params(Q), tuple(map(np.ascontiguousarray, parts)), prompts, codes)


CASES = (
    Case("linear-100", B=256, N=100, K=20, d=60),
    Case("linear-400", B=1024, N=400, K=20, d=20),
)
TINY = Case("tiny-linear", B=256, N=6, K=3, d=4)
