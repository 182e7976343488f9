"""One step of Bu et al. 2024: mean logistic loss and the gradients of W_Q, W_K, W_V, W_O and a, on words of several concepts.

The model is that of `transformer`, with few demonstrations of wide tokens and W_Q, W_K of d_x rows, W_V of d_y. Matrices are
Gaussian and full, label columns included, scaled so that scores are below 1 in size. `concepts-16` is a batch of the reference
setting, with noise: there are no codes. `concepts-2000` is without noise.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import peers

from models import transformer
from nlicl import Params, Prompts
from nlicl.kernels.steps import dense, multihot, unmerged
from nlicl.models.transformer import reference
from nlicl.papers.bu2024 import Problem

numpy_step = partial(transformer.numpy_step, loss=transformer.LOGISTIC)
OF_TOKENS = peers.table(
    numpy_step,
    partial(transformer.plain_loss, loss=transformer.LOGISTIC),
    partial(transformer.probe_loss, loss=transformer.LOGISTIC),
) | {"nlicl-dense": peers.Implementation("numba", lambda data, threads: lambda: step(data.params, data.prompts))}
OF_CODES = {"nlicl-coded": peers.Implementation("numba", lambda data, threads: lambda: step(data.params, data.codes),
                                                given="codes")}  # fmt: skip


def step(params, prompts):
    return peers.nlicl_step(params, prompts, "logistic")


@dataclass(frozen=True)
class Case:
    """Sizes: `B` prompts of `L` demonstrations, words of `d_x` and labels of `d_y` dimensions, `K` words, `m` neurons."""

    name: str
    B: int
    L: int
    d_x: int
    d_y: int
    K: int
    m: int
    sigma_xi: float = 0.0

    numpy_step = staticmethod(numpy_step)
    loss = staticmethod(partial(reference.loss, loss="logistic"))

    @property
    def implementations(self):
        """Codes are for prompts without noise."""
        return OF_TOKENS if self.sigma_xi else OF_TOKENS | OF_CODES

    @property
    def sizes(self):
        """What a table's head says of it."""
        return {"B": self.B, "L": self.L, "d": self.d_x + self.d_y, "m": self.m, "K": self.K}

    @property
    def problem(self):
        return Problem(d_x=self.d_x, d_y=self.d_y, dictionary=self.K, length=self.L, m=self.m, sigma_xi=self.sigma_xi)

    @property
    def columns(self):
        """Columns of a token, on average: the shared concept, another one, irrelevant words."""
        return 1 + (self.problem.concepts - 1 + self.K - 2 * self.problem.concepts) * self.problem.presence

    def prompt_bytes(self, dtype, given="tokens"):
        """Size of the prompts themselves, as tokens or as codes."""
        itemsize = np.dtype(dtype).itemsize
        token = {"tokens": itemsize * (self.d_x + self.d_y), "codes": 8 + 4 * self.columns}[given]
        return round(self.B * (self.L + 1) * token)

    def costs(self, dtype, given):
        """What a step has to do, as far as is known: with codes if it is given codes, else with tokens, whoever does it."""
        itemsize, d, rows = np.dtype(dtype).itemsize, self.d_x + self.d_y, {"m_a": self.d_x, "m_b": self.d_y}
        if given == "codes":
            return multihot.costs(self.B, self.L, d, self.m, self.K, itemsize, columns=self.columns, **rows)
        step = unmerged if unmerged.pays(self.B, d, self.d_x, self.d_y, self.m) else dense
        return step.costs(self.B, self.L, d, self.m, itemsize, **rows)

    def make(self, dtype, seed=0):
        """Parameters and prompts, `peers.Data`; float32 data are the float64 data rounded."""
        problem = self.problem
        rng = np.random.default_rng(np.random.SeedSequence([seed, self.B, self.L, self.d_x, self.d_y, self.m]))
        d = problem.d

        def gaussian(*shape, scale):
            return (scale * rng.standard_normal(shape)).astype(dtype, copy=False)

        scale = 0.3 / problem.norm_x
        params = Params(
            W_Q=gaussian(self.d_x, d, scale=scale),
            W_K=gaussian(self.d_x, d, scale=scale),
            W_V=gaussian(self.d_y, d, scale=d**-0.5),
            W_O=gaussian(self.m, self.d_y, scale=self.d_y**-0.5),
            a=rng.choice([-1 / self.m, 1 / self.m], self.m).astype(dtype),
        )
        codes = problem.sample(self.B, seed=seed)
        tokens = codes.dense().tokens.astype(dtype)
        prompts = Prompts(tokens, codes.labels)
        return peers.Data(params, (prompts.tokens, prompts.labels), prompts, codes)


CASES = (
    Case("concepts-16", B=16, L=4, d_x=200, d_y=60, K=104, m=50, sigma_xi=0.05),
    Case("concepts-2000", B=2000, L=4, d_x=200, d_y=60, K=104, m=50),
)
TINY = Case("tiny-concepts", B=256, L=3, d_x=6, d_y=5, K=5, m=8)
