"""The problems that are timed: sizes, and data drawn from a seed.

Prompts are codes over the patterns of Li et al. 2024 (d_X = d_Y = d/2, beta = 2) and the same prompts as tokens; matrices are
Gaussian, scaled so that attention is spread out and scores are far below 1 in size, as early in training: the hinge is active
in every prompt (checked), so no implementation can save work on inactive ones, and about half of the neurons are. The query
does not attend to itself; m_a = m_b = d.
"""

from dataclasses import dataclass, replace

import numpy as np

from nlicl import Params
from nlicl.papers.li2024 import Problem

PARAMETERS = Params._fields


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

    @property
    def K(self):
        """Columns of the dictionary: the patterns and the label embedding."""
        return self.M1 + self.M2 + 1

    def prompt_bytes(self, dtype, implementation=""):
        """Size of the prompts themselves, as tokens or as codes: what memory is compared with."""
        itemsize = np.dtype(dtype).itemsize
        token = itemsize + 9 if "coded" in implementation else itemsize * self.d  # kappa, two int32, one int8
        return self.B * (self.l + 1) * token


CASES = (
    Case("paper-256", B=256, l=20, d=60, m=64),
    Case("paper-2000", B=2000, l=20, d=60, m=64),
    Case("contexts-100", B=512, l=100, d=60, m=400),
    Case("contexts-1000", B=128, l=1000, d=120, m=400),
)
DTYPES = ("float64", "float32")
# To load code and start threads before memory is measured: small, but enough prompts for several chunks.
TINY = Case("tiny", B=256, l=4, d=8, m=8, M1=3, M2=1)


def make(case, dtype, seed=0):
    """(params, prompts, codes) of a case, the prompts as tokens and as codes; float32 data are the float64 data rounded."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, case.B, case.l, case.d, case.m]))
    d, m = case.d, case.m

    def gaussian(*shape, scale):
        return (scale * rng.standard_normal(shape)).astype(dtype, copy=False)

    params = Params(
        W_Q=gaussian(d, d, scale=d**-0.5),
        W_K=gaussian(d, d, scale=d**-0.5),
        W_V=gaussian(d, d, scale=d**-0.5),
        W_O=gaussian(m, d, scale=d**-0.5),
        a=rng.choice([-1 / m, 1 / m], m).astype(dtype),
    )
    problem = Problem(M1=case.M1, M2=case.M2, d_X=d // 2, d_Y=d // 2)
    codes = problem.sample(case.B, length=case.l, seed=seed)
    codes = replace(codes, dictionary=codes.dictionary.astype(dtype), kappa=codes.kappa.astype(dtype))
    return params, codes.dense(dtype), codes
