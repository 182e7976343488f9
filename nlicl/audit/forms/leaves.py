"""Leaves of a point: which are differentiated, as which numbers, and how other numbers take their form."""

import array as standard
import sys
from typing import Any

import numpy as np

from ...core.errors import InvalidType, InvalidValue
from .tree import is_dict, is_number, is_numbers, is_sequence, is_sparse, kind, library, look, roots, to_numpy

__all__ = ["differentiable", "rebuilt"]

PLAIN = (np.ndarray, np.matrix, np.memmap, np.recarray)
BUFFERS = (memoryview, standard.array, range, bytearray)
EXPECTED = "expected an array of floating numbers, or a list, tuple, dict, named tuple or dataclass of such arrays"


def differentiable(value: Any, name: str, *, must: bool) -> np.ndarray | None:
    """The numbers of a leaf, as a read-only copy in float64 or float32; None for data.

    Parameters
    ----------
    must : bool
        Whether the leaf is all of x, or asked for by name: then integers are taken as float64, and nothing is data.

    Raises
    ------
    TypeError, ValueError
        What looks like an array to be differentiated, and cannot be; anything else than numbers, if `must`.
    """
    _refuse(value, name, must)
    if library(value) or is_number(value) or is_numbers(value) or issubclass(type(value), BUFFERS):
        found = _read(value, name)
    elif must:
        found = _foreign(value, name)
    elif hasattr(type(value), "__next__"):
        raise InvalidType(f"{name} is {look(value)}, which can be read once only; expected a list. Give list({name}).")
    else:
        return None
    if found.dtype.kind in "biuUSTmM" and not must:
        return None
    return _checked(found, name, must)


def rebuilt(given: Any, leaf: Any, original_dtype: bool) -> Any:
    """A copy of a leaf's numbers in the form in which x had it: NumPy's array or scalar, torch's tensor, JAX's array."""
    if is_number(leaf):
        leaf = np.asarray(leaf)
    if not isinstance(leaf, np.ndarray):
        return leaf.copy()
    where = library(given)
    if where == "torch":
        return _tensor(given, leaf, original_dtype)
    if where == "jax":
        return _jax_array(given, leaf, original_dtype)
    if is_number(given):
        return leaf[()]
    same = leaf.copy(order="K")  # laid out in memory as x is
    return same.view(np.matrix) if isinstance(given, np.matrix) else same


def _tensor(given: Any, leaf: np.ndarray, original_dtype: bool) -> Any:
    torch: Any = sys.modules["torch"]
    tensor = torch.from_numpy(np.array(leaf, order="C"))
    dtype = tensor.dtype
    if original_dtype and leaf.dtype.kind == "f" and given.dtype.is_floating_point:
        dtype = given.dtype
    elif original_dtype and leaf.dtype.kind == "c" and given.dtype == torch.float32:
        dtype = torch.complex64
    return tensor.to(device=given.device, dtype=dtype).detach().requires_grad_(given.requires_grad)


def _jax_array(given: Any, leaf: np.ndarray, original_dtype: bool) -> Any:
    jax_numpy: Any = sys.modules["jax"].numpy
    if original_dtype and leaf.dtype.kind == "f" and given.dtype.kind not in "biu":
        return jax_numpy.array(leaf, dtype=given.dtype)
    if original_dtype and leaf.dtype == np.complex128 and given.dtype == np.float32:
        leaf = leaf.astype(np.complex64)
    return jax_numpy.array(leaf)


def _refuse(value: Any, name: str, must: bool) -> None:
    """TypeError for what NumPy would misread, or what loses its meaning as a plain array."""
    data = "" if must else f" If {name} is data, name what is differentiated by wrt=."
    if issubclass(type(value), np.ma.MaskedArray):
        raise InvalidType(
            f"{name} is a masked array; expected an array without a mask. Give {name}.filled(value).{data}"
        )
    if is_sparse(value):
        if library(value) == "torch":
            raise InvalidType(f"{name} is a sparse tensor; expected a dense one. Audit {name}.to_dense().{data}")
        raise InvalidType(
            f"{name} is a sparse matrix; expected an array. Audit {name}.data, or {name}.toarray().{data}"
        )
    if roots(value) & {"pandas", "polars"}:
        raise InvalidType(f"{name} is a {kind(value)}; expected an array. Give {name}.to_numpy().{data}")
    if library(value) == "numpy" and type(value) not in PLAIN:
        raise InvalidType(
            f"{name} is a {kind(value)}; expected an array of NumPy's own. Give numpy.asarray({name}).{data}"
        )
    complex_dtype = library(value) and str(value.dtype).removeprefix("torch.").startswith("complex")
    if complex_dtype or issubclass(type(value), (complex, np.complexfloating)) or _holds_complex(value):
        raise InvalidType(
            f"{name} is complex; expected real numbers. Split it: x = (z.real, z.imag), "
            "loss = lambda a, b: f(a + 1j * b); its gradient by a and by b is the real and the imaginary part of "
            f"2 df/dconj(z).{data}"
        )
    if library(value) == "numpy" and value.dtype.kind in "OV":
        what = "object" if value.dtype.kind == "O" else "structured"
        mend = "Give a list of arrays, or .astype(float)." if what == "object" else "Give its fields, as a dict."
        raise InvalidType(f"{name} is an array of dtype {what}; expected floating numbers. {mend}{data}")


def _holds_complex(value: Any) -> bool:
    if not is_numbers(value):
        return False
    return any(issubclass(type(item), (complex, np.complexfloating)) or _holds_complex(item) for item in value)


def _read(value: Any, name: str) -> np.ndarray:
    """An array of what is known to be numbers."""
    try:
        with np.errstate(all="ignore"):
            found = to_numpy(value)
            return found.astype(np.float64) if found.dtype == object else found
    except OverflowError:
        raise InvalidValue(f"{name} holds an integer beyond the range of float64; expected floating numbers.") from None
    except ValueError:
        raise InvalidValue(
            f"{name} is a {kind(value)} of rows of unequal lengths; expected an array, or a list of arrays."
        ) from None
    except Exception as error:  # a tensor without numbers, a key of random numbers
        raise InvalidType(f"{name} is {look(value)} that NumPy cannot read ({kind(error)}); {EXPECTED}.") from None


def _foreign(value: Any, name: str) -> np.ndarray:
    """An array of another library's, or an object that says that it is one."""
    if hasattr(type(value), "__array__"):
        try:
            found = np.asarray(value)
        except Exception as error:
            raise InvalidType(f"{name} is {look(value)} that NumPy cannot read ({kind(error)}); {EXPECTED}.") from None
        if found.dtype.kind == "c":
            _refuse(found, name, True)
        return found
    if "torch" in roots(value) and hasattr(type(value), "named_parameters"):
        raise InvalidType(
            f"{name} is {look(value)}, a torch module; expected its parameters. Give dict(x.named_parameters()), and a loss "
            "that calls the module by torch.func.functional_call."
        )
    if is_sequence(value) or is_dict(value):
        raise InvalidValue(f"{name} is {look(value)}; expected at least one array.")
    raise InvalidType(f"{name} is {look(value)}; {EXPECTED}.")


def _checked(found: np.ndarray, name: str, must: bool) -> np.ndarray:
    """A read-only copy in float64 or float32, of finite numbers and at least one."""
    if found.dtype.kind not in "fiu":
        raise InvalidType(f"{name} has dtype {found.dtype}; expected floating numbers. Convert it by .astype(float).")
    if found.size == 0:
        raise InvalidValue(f"{name} is empty, of shape {found.shape}; expected at least one number.")
    with np.errstate(all="ignore"):
        numbers = np.array(
            found, np.float32 if found.dtype.newbyteorder("=") == np.float32 else np.float64, subok=False
        )
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        index = [int(i) for i in bad[0]]
        where = f"{name}{index}" if index else name
        count = f" ({len(bad)} of {numbers.size} entries are not)" if index else ""
        raise InvalidValue(f"{where} is {found[tuple(index)]}; expected finite numbers{count}. Remove or replace them.")
    numbers.flags.writeable = False
    return numbers
