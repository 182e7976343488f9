"""Random problems for GPT-2: parameters that are all random and of order 1, prompts of Gaussian tokens."""

from typing import NamedTuple

import numpy as np

from nlicl.models.gpt2.prompts import Params, Prompts


class Gpt2Sizes(NamedTuple):
    B: int = 5
    T: int = 6
    d: int = 4
    L: int = 2
    H: int = 3
    D: int = 2
    M: int = 7
    spare: int = 2  # positions that no prompt has

    @property
    def C(self):
        return self.H * self.D


def gpt2_params(size, seed=0, dtype=np.float64):
    rng = np.random.default_rng([seed, 11])
    _, T, d, L, H, D, M, spare = size
    C = size.C

    def matrix(*shape):
        return rng.normal(size=shape) / np.sqrt(shape[-1])

    def vector(*shape, mean=0.0):
        return mean + rng.normal(size=shape) / 3

    arrays = Params(
        W_in=matrix(C, d), b_in=vector(C), wpe=rng.normal(size=(T + spare, C)) / 2,
        gamma_1=vector(L, C, mean=1), beta_1=vector(L, C), W_qkv=matrix(L, 3, H, D, C), b_qkv=vector(L, 3, H, D),
        W_o=matrix(L, C, C), b_o=vector(L, C), gamma_2=vector(L, C, mean=1), beta_2=vector(L, C),
        W_fc=matrix(L, M, C), b_fc=vector(L, M), W_pr=matrix(L, C, M), b_pr=vector(L, C),
        gamma_f=vector(C, mean=1), beta_f=vector(C), w_out=matrix(C), b_out=vector(1),
    )  # fmt: skip
    return Params(*(array.astype(dtype) for array in arrays))


def gpt2_prompts(size, seed=0, dtype=np.float64, reads=None, causal=True):
    rng = np.random.default_rng([seed, 12])
    tokens = rng.normal(size=(size.B, size.T, size.d)).astype(dtype)
    labels = rng.choice([-1.0, 1.0], (size.B, 1 if reads is None else len(reads)))
    return Prompts(tokens, labels, reads, causal)


def gpt2_problem(size, seed=0, dtype=np.float64, reads=None, causal=True):
    return gpt2_params(size, seed, dtype), gpt2_prompts(size, seed, dtype, reads, causal)
