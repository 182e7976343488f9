"""Arrays at the door: their dtypes, shapes and numbers, checked once; and as the kernels want them."""

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .describe import kind_of, short
from .errors import InvalidIndex, InvalidType, InvalidValue
from .memory import check_count

__all__ = [
    "all_finite",
    "as_array",
    "check_finite",
    "checked_index",
    "fitting",
    "frozen",
    "given",
    "packed",
    "real_array",
]

_DEEPEST = 64  # axes of an array


def as_array(value: object, name: str) -> NDArray[Any]:
    """An array of any dtype, of no subclass of ndarray.

    Raises
    ------
    TypeError
        A masked array, or a list of some: NumPy would compute on with what is masked. Something of which NumPy makes no array.
    ValueError
        Lists of unequal lengths, or nested deeper than NumPy's 64 axes.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, range):
        check_count(name, value, 50)
    masked = _is_masked(value)
    if not masked:
        try:
            array = np.asanyarray(value)
        except Exception:  # an object of the caller's may raise anything
            if isinstance(value, (list, tuple)):
                raise InvalidValue(
                    f"{name} is a {kind_of(value)} of rows of unequal lengths; expected an array."
                ) from None
            raise InvalidType(f"{name} is {short(value)}; expected an array, which NumPy makes none of.") from None
        masked = isinstance(array, np.ma.MaskedArray)
    if masked:
        raise InvalidType(
            f"{name} is a masked array, or holds one; expected an array without a mask. Give {name}.filled(value), with the "
            "value to compute with where it is masked."
        )
    return np.asarray(array)


def _is_masked(value: object, level: int = 0) -> bool:
    """Whether something is a masked array, or a list or a tuple with one in it, however deep."""
    if isinstance(value, (list, tuple)):
        return level < _DEEPEST and any(_is_masked(each, level + 1) for each in value)
    return isinstance(value, np.ndarray) and type(value) is not np.ndarray and isinstance(value, np.ma.MaskedArray)


def given(value: object, array: NDArray[Any]) -> str:
    """What was given, for an error about its dtype: the dtype of an array or of numbers, anything else as it is."""
    if isinstance(value, np.ndarray) or (array.ndim and array.dtype.kind in "biufc"):
        return f"has dtype {short(str(array.dtype))[1:-1]}"
    return f"is {short(value)}"


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
        convert = (
            f"Give numpy.asarray({name}).astype(numpy.float64)." if array.dtype.kind in "biuO" and array.ndim else ""
        )
        wanted = "a floating dtype" if array.ndim == len(axes) else f"an array {shape} of a floating dtype"
        raise InvalidType(f"{name} {given(value, array)}; expected {wanted}. {convert}".rstrip())
    if array.ndim != len(axes):
        raise InvalidValue(f"{name} has shape {array.shape}; expected {len(axes)} axes, {shape}.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def fitting(
    arrays: Mapping[str, object],
    shapes: Mapping[str, str],
    sizes: dict[str, tuple[int, str]] | None = None,
    *,
    complex_too: bool = False,
) -> list[NDArray[Any]]:
    """Arrays of floating dtypes, finite and not empty, whose shapes go together.

    Parameters
    ----------
    arrays : mapping of str to array_like
        By the names that errors call them by.
    shapes : mapping of str to str
        For each of them its axes, "(m_a, d)". One letter is one size throughout.
    sizes : dict of str to (int, str), optional
        Sizes that are known already, each with a word for who has it. Those of the arrays are added.
    complex_too : bool
        As in `real_array`.

    Returns
    -------
    list of ndarray
        In native byte order and row by row in memory, as products of the same numbers in another order round otherwise.
        Copied only if needed.

    Raises
    ------
    TypeError, ValueError
        As `real_array`; sizes that differ, or are 0; NaN, infinity.
    """
    found, sizes = [], {} if sizes is None else sizes
    for name, shape in shapes.items():
        array = real_array(arrays[name], name, shape, complex_too=complex_too)
        for letter, size in zip(shape.strip("(,)").split(", "), array.shape, strict=True):
            expected, first = sizes.setdefault(letter, (size, name))
            if size != expected:
                raise InvalidValue(
                    f"{name} has shape {array.shape}; expected {shape} with {letter} = {expected}, as {first} has."
                )
        if array.size == 0:
            raise InvalidValue(f"{name} has shape {array.shape}; expected {shape} with every size at least 1.")
        check_finite(array, name)
        found.append(np.require(array, requirements=["C", "A"]))
    return found


def checked_index(index: Any, n: int, name: str = "prompts") -> Any:
    """An index into n things: an int from 0 to n - 1, a slice that selects some, or a vector of such ints.

    Parameters
    ----------
    index
        An integer, negative ones from the end; a slice; a list or a vector of integers; a list or a vector of n bools.
    n : int
        How many there are.
    name : str
        What they are, for errors.

    Returns
    -------
    int, slice, or ndarray of intp

    Raises
    ------
    IndexError
        A number that is not there.
    ValueError
        None is selected; a mask of another length.
    TypeError
        Anything else.
    """
    if isinstance(index, slice):
        return _checked_slice(index, n, name)
    if isinstance(index, np.ndarray) and index.ndim == 0 and index.dtype.kind in "iu":
        index = index[()]
    if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.timedelta64)):
        if not -n <= index < n:
            raise InvalidIndex(
                f"{name}[{short(index)}] is not there: there are {n}; expected an integer from {-n} to {n - 1}."
            )
        return int(index) % n
    expected = "expected an integer, a slice, a list of integers, or one bool for each"
    if not isinstance(index, (list, range, np.ndarray)):
        advice = f" Give {name}[list(index)]." if isinstance(index, tuple) else ""
        raise InvalidType(f"{name} are indexed by {short(index)}; {expected}.{advice}")
    array = as_array(index, f"the index of {name}")
    if array.ndim != 1:
        raise InvalidType(f"{name} are indexed by an array of shape {array.shape}; {expected}.")
    if array.size == 0 and array.dtype.kind in "fiub":
        raise InvalidValue(f"{name} are indexed by an empty {kind_of(index)}: an empty batch; expected some of {n}.")
    if array.dtype.kind == "b":
        if len(array) != n or not array.any():
            raise InvalidValue(
                f"{name} are indexed by {len(array)} bools, {np.count_nonzero(array)} of them True; expected {n} of them, one "
                "for each, at least one of them True."
            )
        return np.flatnonzero(array)
    if array.dtype.kind not in "iu":
        raise InvalidType(f"{name} are indexed by what {given(index, array)}; {expected}.")
    if array.min() < -n or array.max() >= n:
        raise InvalidIndex(
            f"{name} are indexed by integers from {array.min()} to {array.max()}; expected them from {-n} to {n - 1}: there "
            f"are {n}."
        )
    array = array.astype(np.intp)
    return np.where(array < 0, array + n, array)


def _checked_slice(index: slice, n: int, name: str) -> slice:
    parts = (index.start, index.stop, index.step)
    try:
        start, stop, step = (None if part is None else operator.index(part) for part in parts)
    except Exception:
        raise InvalidType(
            f"{name} are indexed by a slice from {short(parts[0])} to {short(parts[1])} in steps of {short(parts[2])}; "
            "expected integers, or None."
        ) from None
    if step == 0:
        raise InvalidValue(f"{name} are indexed by a slice in steps of 0; expected another step.")
    found = slice(start, stop, step)
    if not range(n)[found]:
        stride = "" if step is None else f":{short(step)}"
        ends = ":".join("" if end is None else short(end) for end in (start, stop))
        raise InvalidValue(f"{name}[{ends}{stride}] is an empty batch; expected some of {n}.")
    return found


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


_SMALL = 16 * 1024  # bytes that are copied in less time than memory is declared writable


class _Writable:
    """The same memory as a read-only array, declared writable: kernels never write their inputs, and a second
    compilation for read-only types would cost seconds."""

    def __init__(self, array: NDArray[Any]):
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}
        self.array = array  # kept alive


def packed(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers contiguous, aligned, of a type the kernels are compiled for; a copy if needed, or if it is small."""
    if array.flags.carray and type(array) is np.ndarray:
        return array
    if array.nbytes <= _SMALL:
        return np.array(array, order="C")
    array = np.require(array, requirements=["C", "A"])
    return array if array.flags.writeable else np.asarray(_Writable(array))


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view, which its `flags` do not make writable again. It shows what is written to `array` itself."""
    return np.asarray(memoryview(array).toreadonly())  # type: ignore[arg-type]  # an array is a buffer on Python 3.11, too
