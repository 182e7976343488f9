"""GPT-2 on the prompts of Li et al. 2024, under a name of its own."""

from dataclasses import dataclass

from ..li2024 import GPT2

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem(GPT2):
    """`nlicl.papers.li2024.GPT2`, all of it; a run of `nlicl train gpt2` is one of this paper."""
