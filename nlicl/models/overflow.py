"""What overflows must not vanish: -inf may be a number of any sign, and relu or softmax would make 0 of it."""

from typing import Any

import numpy as np

from ..core.errors import NotFinite

__all__ = ["finite", "not_finite"]


def not_finite(what: str, dtype: np.dtype) -> NotFinite:
    """The error for a result that is NaN or infinite although what was given is not."""
    return NotFinite(
        f"{what} is not finite although parameters and prompts are: products of them overflow {dtype}. "
        "Scale parameters or prompts down" + (", or use float64." if dtype == np.float32 else ".")
    )


def finite(what: str, x: Any) -> Any:
    """x itself, a number or an array of a definition; `NotFinite` where it holds NaN or infinity."""
    if not np.isfinite(x).all():
        raise NotFinite(
            f"{what} is not finite: products of parameters and prompts overflow {np.asarray(x).dtype}, or these hold NaN or "
            "infinity. Scale them down."
        )
    return x
