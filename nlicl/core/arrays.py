"""Arrays at the door: their dtypes, shapes and numbers, checked once; and as the kernels want them."""

import sys

import numpy as np

from .errors import InvalidType, InvalidValue

__all__ = [
    "all_finite",
    "as_array",
    "check_finite",
    "frozen",
    "kind_of",
    "name_of",
    "packed",
    "real_array",
    "short",
]


def kind_of(value):
    """The name of its type for an error, with the module where several papers have a type of that name."""
    return name_of(type(value))


def name_of(kind):
    """A type's name for an error: those of this library as a reader imports them, others without their module."""
    if not kind.__module__.startswith("nlicl."):
        return kind.__name__
    offering = [
        name
        for name, module in list(sys.modules.items())
        if (name == "nlicl" or name.startswith("nlicl."))
        and kind.__name__ in getattr(module, "__all__", ())
        and getattr(module, kind.__name__, None) is kind
    ]
    return f"{min([*offering, kind.__module__], key=len)}.{kind.__name__}"


def short(value):
    """A value for an error: itself if that is short, or its type."""
    text = repr(value)
    return text if len(text) <= 80 and "\n" not in text else f"a {kind_of(value)}"


def as_array(value, name):
    """`value` as an ndarray; ValueError for lists of unequal lengths."""
    try:
        return np.asarray(value)
    except ValueError:
        raise InvalidValue(f"{name} is a {kind_of(value)} of rows of unequal lengths; expected an array.") from None


def real_array(value, name, shape, *, complex_too=False):
    """`value` as a floating ndarray, in native byte order, with the axes named in `shape`; or a clear error."""
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


def all_finite(array):
    """Whether `array` holds neither NaN nor infinity. Allocates nothing as a rule: a finite sum has finite terms."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


def check_finite(array, name):
    """Raise ValueError, with the first offending index, if `array` holds NaN or infinity."""
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

    def __init__(self, array):
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}
        self.array = array  # kept alive


def packed(array):
    """Contiguous, aligned, of a type the kernels are compiled for; a copy only if needed."""
    if array.flags.carray and type(array) is np.ndarray:
        return array
    array = np.require(array, requirements=["C", "A"])
    return array if array.flags.writeable else np.asarray(_Writable(array))


def frozen(array):
    """A read-only view of `array`."""
    view = array.view()
    view.flags.writeable = False
    return view
