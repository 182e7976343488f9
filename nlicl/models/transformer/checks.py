"""Parameters of the transformer at the door: checked once, and then as kernels want them."""

from typing import Any

import numpy as np

from ...core.arrays import check_finite, packed, real_array
from ...core.describe import kind_of
from ...core.errors import InvalidType, InvalidValue
from ...kernels.products import are_finite
from .prompts import Params

__all__ = [
    "check_all_finite",
    "check_dtype",
    "check_fit",
    "check_params",
    "check_tokens_fit",
    "packed_params",
    "real_params",
]

_SHAPES = {"W_Q": "(m_a, d)", "W_K": "(m_a, d)", "W_V": "(m_b, d)", "W_O": "(m, m_b)", "a": "(m,)"}
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def packed_params(params: Params) -> Params:
    """`params` as kernels take them: contiguous, of one dtype, shapes that fit together. Finiteness is left to `check_finite`.

    Raises
    ------
    TypeError, ValueError
        As `check_params`.
    """
    return params if _is_ready(params) else Params(*map(packed, check_params(params)))


def check_params(params: Any) -> Params:
    """`params` as a Params of floating (or complex) arrays of one dtype that fit together; a clear error otherwise."""
    if not isinstance(params, Params):
        raise InvalidType(f"params is a {kind_of(params)}; expected nlicl.Params(W_Q, W_K, W_V, W_O, a).")
    arrays = Params(
        *(real_array(getattr(params, k), f"params.{k}", shape, complex_too=True) for k, shape in _SHAPES.items())
    )
    for name, array in arrays._asdict().items():
        if array.dtype != arrays.W_Q.dtype:
            raise InvalidType(
                f"params.{name} has dtype {array.dtype}, params.W_Q {arrays.W_Q.dtype}; expected one dtype for all. "
                f"Convert with .astype(numpy.{arrays.W_Q.dtype})."
            )
        if array.size == 0:
            raise InvalidValue(
                f"params.{name} has shape {array.shape}; expected {_SHAPES[name]} with every size at least 1."
            )
    sizes: dict[str, tuple[int, str]] = {}  # letter -> (size, who said so first)
    for name, array in arrays._asdict().items():
        for letter, size in zip(_letters(_SHAPES[name]), array.shape, strict=True):
            known, who = sizes.setdefault(letter, (size, name))
            if known != size:
                raise InvalidValue(
                    f"params.{name} has shape {array.shape}; expected {_SHAPES[name]} with {letter} = {known}, "
                    f"as in params.{who} of shape {getattr(arrays, who).shape}, {_SHAPES[who]}."
                )
    for name, array in arrays._asdict().items():
        check_finite(array, f"params.{name}")
    return arrays


def real_params(params: Any) -> Params:
    """`params` as `check_params` has them, of a real dtype; TypeError, ValueError for anything else."""
    arrays = check_params(params)
    if arrays.a.dtype.kind == "c":
        raise InvalidType(f"params has dtype {arrays.a.dtype}; expected a real floating dtype.")
    return arrays


def check_all_finite(params: Params) -> None:
    """ValueError, with the first entry that is not, unless packed parameters are finite."""
    if not are_finite(*params):
        check_params(params)  # says which, and where


def check_dtype(params: Params) -> None:
    """TypeError unless kernels take these parameters."""
    dtype = params.W_Q.dtype
    if dtype not in _DTYPES:
        raise InvalidType(
            f"params has dtype {dtype}; expected float32 or float64. Convert with .astype(numpy.float64)."
        )


def check_fit(params: Params, name: str, shape: tuple[int, ...], d: int) -> None:
    """ValueError unless an array of the prompts, with its `name`, `shape` and width `d`, is as wide as the parameters."""
    if d != params.W_Q.shape[1]:
        raise InvalidValue(
            f"prompts.{name} has shape {shape}, width d = {d}; params.W_Q has shape "
            f"{params.W_Q.shape}, d = {params.W_Q.shape[1]}. Expected the same d in both."
        )


def check_tokens_fit(params: Params, tokens: Any) -> None:
    """TypeError, ValueError unless tokens (B, l+1, d) are of the dtype and width of the parameters."""
    dtype = params.W_Q.dtype
    if tokens.dtype != dtype:
        raise InvalidType(
            f"prompts.tokens has dtype {tokens.dtype}, params {dtype}; expected one dtype. "
            f"Convert one of them, for example tokens.astype(numpy.{dtype})."
        )
    check_fit(params, "tokens", tokens.shape, tokens.shape[2])


def _is_ready(params: Any) -> bool:
    """Whether `params` is what kernels take, but for NaN and infinity: the usual case, settled in microseconds."""
    if not isinstance(params, Params):
        return False
    W_Q, W_K, W_V, W_O, a = params
    dtype = getattr(W_Q, "dtype", None)
    return (
        dtype in _DTYPES
        and all(type(array) is np.ndarray and array.dtype == dtype and array.flags.carray for array in params)
        and W_Q.ndim == W_V.ndim == W_O.ndim == 2
        and W_Q.shape == W_K.shape
        and W_V.shape[1:] == W_Q.shape[1:]
        and W_O.shape[1:] == W_V.shape[:1]
        and a.shape == W_O.shape[:1]
        and min(W_Q.size, W_V.size, W_O.size) > 0
    )


def _letters(shape: str) -> list[str]:
    return [letter.strip() for letter in shape.strip("()").split(",") if letter.strip()]
