"""Where each setting of Bu et al. 2024 comes from, by its value: see `nlicl.papers.provenance`."""

from collections.abc import Mapping
from typing import Any

__all__ = ["MARKS"]

# The quoted values are those of the paper's experiment. The learning rate's mark is in `rates`.
MARKS: Mapping[str, str | Mapping[Any, str]] = {
    **dict.fromkeys(("concepts", "dictionary", "kappa_x", "kappa_y", "length", "m", "sigma_0", "sigma_1"), "quoted"),
    **dict.fromkeys(("weight_decay", "step_offset", "batch"), "quoted"),
    "d_x": {200: "ours", 1000: "quoted"},
    "d_y": {60: "ours", 1000: "quoted"},
    "norm_x": {5.0: "ours", 10.0: "quoted"},
    "norm_y": {5.0: "ours", 10.0: "quoted"},
    "sigma_xi": {0.05: "ours", 0.01: "quoted"},
    **dict.fromkeys(("p_z", "match", "semantics_seed", "steps"), "ours"),
}
