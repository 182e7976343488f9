"""Arrays at the door: their dtypes, shapes and numbers, checked once; and as the kernels want them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .describe import kind_of
from .errors import InvalidType, InvalidValue
from .memory import check_count

__all__ = ["all_finite", "as_array", "check_finite", "frozen", "is_masked", "packed", "real_array"]


def as_array(value: object, name: str) -> NDArray[Any]:
    """An array of any dtype.

    Raises
    ------
    TypeError
        A masked array, or a list of some: NumPy would compute on with what is masked.
    ValueError
        Lists of unequal lengths, or nested deeper than NumPy's 64 axes.
    """
    if isinstance(value, range):
        check_count(name, value, 50)
    try:
        array = np.asarray(value)
    except ValueError:
        raise InvalidValue(f"{name} is a {kind_of(value)} of rows of unequal lengths; expected an array.") from None
    if is_masked(value):
        raise InvalidType(
            f"{name} is a masked array, or holds one; expected an array without a mask. Give {name}.filled(value), with the "
            "value to compute with where it is masked."
        )
    return array


def is_masked(value: object) -> bool:
    """Whether something is a masked array, or a list or a tuple with one in it, however deep."""
    if isinstance(value, (list, tuple)):
        return any(map(is_masked, value))
    return isinstance(value, np.ndarray) and type(value) is not np.ndarray and isinstance(value, np.ma.MaskedArray)


def real_array(value: object, name: str, shape: str, *, complex_too: bool = False) -> NDArray[Any]:
    """An array of a floating dtype, in native byte order.

    Parameters
    ----------
    value, name
        The argument. It is not copied where it is such an array.
    shape : str
        The axes, "(B, l+1, d)": their number is checked.
    complex_too : bool
        Whether a complex dtype will do.

    Raises
    ------
    TypeError
        Another dtype; a masked array.
    ValueError
        Another number of axes; lists of unequal lengths.
    """
    array = as_array(value, name)
    axes = [word.strip() for word in shape.strip("()").split(",") if word.strip()]
    if array.dtype.kind not in ("fc" if complex_too else "f"):
        raise InvalidType(
            f"{name} has dtype {array.dtype}; expected a floating dtype. "
            f"Give numpy.asarray({name}).astype(numpy.float64)."
        )
    if array.ndim != len(axes):
        raise InvalidValue(f"{name} has shape {array.shape}; expected {len(axes)} axes, {shape}.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def all_finite(array: NDArray[Any]) -> bool:
    """Whether an array holds neither NaN nor infinity. Allocates nothing as a rule: a finite sum has finite terms."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


def check_finite(array: NDArray[Any], name: str) -> None:
    """ValueError, with the first offending index, if an array holds NaN or infinity."""
    if all_finite(array):
        return
    bad = np.argwhere(~np.isfinite(array))
    index = tuple(int(i) for i in bad[0])
    raise InvalidValue(
        f"{name}{list(index)} is {array[index]}; expected finite numbers ({len(bad)} of {array.size} entries are "
        "not). Remove or replace them."
    )


class _Writable:
    """The same memory as a read-only array, declared writable: kernels never write their inputs, and a second
    compilation for read-only types would cost seconds."""

    def __init__(self, array: NDArray[Any]):
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}
        self.array = array  # kept alive


def packed(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers contiguous, aligned, of a type the kernels are compiled for; a copy only if needed."""
    if array.flags.carray and type(array) is np.ndarray:
        return array
    array = np.require(array, requirements=["C", "A"])
    return array if array.flags.writeable else np.asarray(_Writable(array))


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view
