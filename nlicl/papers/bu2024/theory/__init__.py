"""Norms, schedules, laws of the match rules, and the theory of the early phase for Bu et al. 2024, each with its mark.

[recalled] is from memory of the paper, [derived] is ours, checked numerically; neither is a quotation. Numbers may be arrays,
which broadcast: one entry a run.
"""

from .early import (
    Early,
    early_flow,
    early_quantities,
    early_rate,
    early_source,
    escape_step,
    escape_time,
    failure_probability,
    invariant,
    lambda_star,
    succeeds,
    sufficient_sigma_0,
)
from .geometry import Norms, decay, needed_step_offset, norms, step_sizes
from .matching import RULES, attention_law, floor_error, initial_attention, match_law

__all__ = [
    "RULES",
    "Early",
    "Norms",
    "attention_law",
    "decay",
    "early_flow",
    "early_quantities",
    "early_rate",
    "early_source",
    "escape_step",
    "escape_time",
    "failure_probability",
    "floor_error",
    "initial_attention",
    "invariant",
    "lambda_star",
    "match_law",
    "needed_step_offset",
    "norms",
    "step_sizes",
    "succeeds",
    "sufficient_sigma_0",
]
