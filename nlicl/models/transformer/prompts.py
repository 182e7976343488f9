"""Parameters and prompts: the nouns of the library. Plain NumPy inside, readable outside.

| paper                       | here                                                              |
|-----------------------------|-------------------------------------------------------------------|
| Psi = {W_Q, W_K, W_V, W_O, a} | `Params`                                                        |
| P, d x (l+1), columns p_i   | `Prompt.P`; in batches tokens are rows: `Prompts.tokens` (B, l+1, d) |
| p_query                     | the last token, `Prompt.query`                                    |
| z                           | the query's label, `Prompt.z`; of a batch `Prompts.labels` (B,)    |
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ... import devices
from ...core.arrays import as_array, check_finite, checked_index, frozen, given, packed, real_array
from ...core.checks import boolean, function, inexact
from ...core.describe import name_of, short
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_tokens
from ...devices import on_device
from ..model import Batch
from ..notebook import params_html
from ..prompt import Prompt

__all__ = ["CodedPrompts", "Params", "Prompt", "Prompts", "packed_codes"]


class Params(NamedTuple):
    """Parameters of the one-layer transformer; gradients have the same form.

    Attributes
    ----------
    W_Q, W_K : ndarray (m_a, d)
        Query and key matrices.
    W_V : ndarray (m_b, d)
        Value matrix.
    W_O : ndarray (m, m_b)
        First layer of the MLP; its rows are the m neurons.
    a : ndarray (m,)
        Output layer of the MLP (Bu et al. call it r).
    """

    W_Q: np.ndarray
    W_K: np.ndarray
    W_V: np.ndarray
    W_O: np.ndarray
    a: np.ndarray

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {np.shape(value)}" for name, value in self._asdict().items())
        return f"Params({arrays}, {getattr(self.W_Q, 'dtype', '?')})"

    def _repr_html_(self) -> str | None:
        return params_html(self)


def _part(prompts: Any, index: Any) -> Any:
    """`prompts[index]` of prompts on a GPU: a slice of step 1 is cut there, other choices go by way of the host; one prompt,
    which formulas take, stays there."""
    index = checked_index(index, len(prompts))
    if not isinstance(index, slice) or index.step not in (None, 1):
        found = devices.to_host(prompts)[index]
        return found if isinstance(found, Prompt) else devices.to_device(found)
    whole = getattr(prompts, "dictionary", None)
    return prompts.moved(lambda array: array if array is whole else array[index])


def _checked_labels(labels: Any, B: int, dtype: np.dtype, of: str) -> np.ndarray:
    """`labels` as a new array (B,) of -1 and +1 in `dtype`; or a clear error."""
    labels = as_array(labels, "labels")
    if labels.shape != (B,):
        raise InvalidValue(f"labels has shape {labels.shape}; expected ({B},), one label for each prompt of {of}.")
    kinds = "fiuc" if dtype.kind == "c" else "fiu"
    if labels.dtype.kind not in kinds or not np.all((labels == 1) | (labels == -1)):
        values = labels.tolist()
        odd = [value for value in values if not isinstance(value, (int, float, complex)) or abs(value) != 1] or values
        kind = short(str(labels.dtype))[1:-1]
        raise InvalidValue(
            f"labels holds {short(odd[:3])} ({kind}); expected -1 or +1 only. Map two classes by numpy.where(y, 1.0, -1.0)."
        )
    return labels.astype(dtype)


def _integers(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """`value` as an integer ndarray of a shape; or a clear error."""
    array = as_array(value, name)
    if array.dtype.kind not in "iu":
        raise InvalidType(
            f"{name} {given(value, array)}; expected integers. Give numpy.asarray({name}).astype(numpy.int32)."
        )
    if array.shape != shape:
        raise InvalidValue(f"{name} has shape {array.shape}; expected {shape}, (B, l+1) as kappa.")
    return np.array(array)  # what is checked is what is kept


def _all_moved(move: Any, arrays: Iterable[Any]) -> list[Any]:
    """The arrays moved by `move`; an error if it is no function, or gives none of them."""
    function("move", move, "an array")
    if isinstance(move, type):
        raise InvalidType(
            f"move is the class {name_of(move)}; expected a function of an array, for example nlicl.to_host."
        )
    found = [move(array) for array in arrays]
    for array in found:
        if not (isinstance(array, np.ndarray) or on_device(array)):
            raise InvalidType(f"move returns {short(array)}; expected an array.")
    return found


@dataclass(frozen=True, eq=False)
class Prompts(Batch):
    """A batch of prompts of one length.

    Parameters
    ----------
    tokens : array_like (B, l+1, d), floating
        Tokens as rows, the query last; B >= 1, l >= 1. Kept without a copy: read-only arrays and views are fine, and what is
        written to the array later changes the prompts.
    labels : array_like (B,)
        Labels of the queries, each -1 or +1; stored in the tokens' dtype.
    query_attends : bool
        Whether the query is one of the tokens it attends to (the l+1 model of the proof pages); default no.

    Raises
    ------
    TypeError
        Tokens of an integer, boolean or object dtype.
    ValueError
        Wrong number of axes, no prompt, no context, labels of another length or other than -1 and +1, NaN, infinity.
    """

    tokens: np.ndarray
    labels: np.ndarray
    query_attends: bool = False

    def __post_init__(self) -> None:
        there = on_device(self.tokens)
        tokens = devices.shape_of(self.tokens) if there else self.tokens
        tokens = real_array(tokens, "tokens", "(B, l+1, d)", complex_too=not there)
        B, rows, d = tokens.shape
        if B == 0:
            raise InvalidValue(f"tokens has shape {tokens.shape}: an empty batch. Expected B >= 1 prompts.")
        if rows < 2:
            raise InvalidValue(
                f"tokens has shape {tokens.shape}: l = {rows - 1} contexts. "
                "Expected (B, l+1, d) with l >= 1, the query last."
            )
        if d == 0:
            raise InvalidValue(f"tokens has shape {tokens.shape}: tokens of width 0. Expected d >= 1.")
        labels = devices.fetch(self.labels)
        labels = _checked_labels(labels, B, tokens.dtype, "tokens")
        if there:
            tokens, labels = devices.place(self.tokens), devices.place(labels)
        (devices.check_finite if there else check_finite)(tokens, "tokens")
        self._set(tokens, labels, boolean("query_attends", self.query_attends))

    def _set(self, tokens: Any, labels: Any, query_attends: Any) -> None:
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(
            self, "labels", labels if on_device(labels) else frozen(labels)
        )  # a copy: nothing checks labels again
        object.__setattr__(self, "query_attends", bool(query_attends))

    @classmethod
    def unchecked(cls, tokens: Any, labels: Any, query_attends: bool) -> "Prompts":
        """From arrays of the final dtypes that are right by construction. Nothing is looked at."""
        made = object.__new__(cls)
        made._set(tokens, labels, query_attends)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.tokens, self.labels, self.query_attends)

    @property
    def arrays(self) -> Mapping[str, Any]:
        return {"tokens": self.tokens, "labels": self.labels}

    def moved(self, move: Callable[[Any], Any]) -> "Prompts":
        """The same prompts with their arrays moved elsewhere: `nlicl.to_device`, `nlicl.to_host`."""
        tokens, labels = _all_moved(move, self.arrays.values())
        made = type(self).unchecked if move in (devices.place, devices.fetch) else type(self)
        return made(tokens, labels, self.query_attends)

    @property
    def length(self) -> int:
        """l, the number of contexts."""
        return self.tokens.shape[1] - 1

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Any) -> Any:
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `Prompts`."""
        if on_device(self.tokens):
            return _part(self, index)
        index = checked_index(index, len(self))
        if isinstance(index, int):
            z = self.labels[index]
            return Prompt(self.tokens[index], z.item() if z.dtype.kind == "f" else z, self.query_attends)
        return type(self)(self.tokens[index], self.labels[index], self.query_attends)

    def __repr__(self) -> str:
        B, rows, d = self.tokens.shape
        attends = ", query_attends=True" if self.query_attends else ""
        return f"Prompts(B={B}, l={rows - 1}, d={d}, {self.tokens.dtype}{attends})"


_CODES = ("dictionary", "relevant", "irrelevant", "kappa", "sign", "labels")


@dataclass(frozen=True, eq=False)
class CodedPrompts(Batch):
    """A batch of prompts as sparse codes over a dictionary: token = E[relevant] + kappa E[irrelevant] + sign E[label].

    Parameters
    ----------
    dictionary : array_like (d, K), floating
        E: columns the patterns mu_j, then nu_k, last the label embedding q, each filled up with zeros to R^d.
    relevant, irrelevant : array_like of int (B, l+1)
        Columns of the dictionary, from 0: the token's relevant (IDR or ODR) and irrelevant (IDI or ODI) pattern.
    kappa : array_like (B, l+1), floating
        Coefficient of the irrelevant pattern.
    sign : array_like of int (B, l+1)
        +1 or -1, the label a context carries; 0 for the query, the last.
    labels : array_like (B,)
        Labels of the queries, each -1 or +1.
    query_attends : bool
        As in `Prompts`.

    Stored as read-only copies: dictionary and kappa in their own floating dtype, labels in kappa's, patterns as int32, signs
    as int8. The kernels look them up without checking them again. Do not change the given arrays in another thread meanwhile.

    Raises
    ------
    TypeError, ValueError
        Wrong shapes or dtypes; a pattern that is no column of the dictionary; a sign other than -1, 0, 1, or one on the query;
        a label other than -1 and +1; NaN, infinity.
    """

    dictionary: np.ndarray
    relevant: np.ndarray
    irrelevant: np.ndarray
    kappa: np.ndarray
    sign: np.ndarray
    labels: np.ndarray
    query_attends: bool = False
    if TYPE_CHECKING:

        @property
        def _packed(self) -> Mapping[str, Any]:
            """The same arrays as kernels take them: nobody else gets them, since they are not read-only. No field."""

    def __post_init__(self) -> None:
        if any(on_device(getattr(self, name)) for name in _CODES):  # checked on the host: codes are small beside tokens
            here = {name: devices.fetch(getattr(self, name)) for name in _CODES}
            checked = CodedPrompts(**here, query_attends=self.query_attends)
            self._set(checked.moved(devices.place).arrays, self.query_attends)
            return
        dictionary = real_array(self.dictionary, "dictionary", "(d, K)")
        kappa = real_array(self.kappa, "kappa", "(B, l+1)")
        B, rows = kappa.shape
        if B == 0 or rows < 2 or min(dictionary.shape) < 1:
            raise InvalidValue(
                f"kappa has shape {kappa.shape}, dictionary {dictionary.shape}; expected (B, l+1) with B >= 1 prompts of "
                "l >= 1 contexts, the query last, and (d, K) with d, K >= 1."
            )
        check_finite(dictionary, "dictionary")
        check_finite(kappa, "kappa")
        codes = {name: _integers(getattr(self, name), name, kappa.shape) for name in ("relevant", "irrelevant", "sign")}
        K = dictionary.shape[1]
        for name in ("relevant", "irrelevant"):
            if codes[name].min() < 0 or codes[name].max() >= K:
                raise InvalidValue(
                    f"{name} holds codes from {codes[name].min()} to {codes[name].max()}; expected columns of the dictionary, "
                    f"0 to {K - 1}."
                )
        sign = codes["sign"]
        if sign.min() < -1 or sign.max() > 1 or sign[:, -1].any():
            raise InvalidValue(
                f"sign holds values from {sign.min()} to {sign.max()}, {sorted(set(sign[:, -1].tolist()))[:3]} on queries; "
                "expected -1, 0 or +1, and 0 on the query, the last token."
            )
        labels = _checked_labels(self.labels, B, kappa.dtype, "kappa")
        patterns = (codes[name].astype(np.int32, copy=False) for name in ("relevant", "irrelevant"))
        arrays = (np.array(dictionary), *patterns, np.array(kappa), sign.astype(np.int8, copy=False), labels)
        self._set(dict(zip(_CODES, arrays, strict=True)), boolean("query_attends", self.query_attends))

    def _set(self, arrays: Mapping[str, Any], query_attends: Any) -> None:
        there = on_device(arrays["kappa"])
        arrays = arrays if there else {name: packed(array) for name, array in arrays.items()}
        for name, array in arrays.items():  # `flags` do not make the fields writable again
            object.__setattr__(self, name, array if there else frozen(array))
        object.__setattr__(self, "query_attends", bool(query_attends))
        object.__setattr__(self, "_packed", arrays)

    @classmethod
    def unchecked(
        cls, dictionary: Any, relevant: Any, irrelevant: Any, kappa: Any, sign: Any, labels: Any, query_attends: bool
    ) -> "CodedPrompts":
        """From arrays of the final dtypes that are right by construction, as samplers make them. Nothing is looked at."""
        made = object.__new__(cls)
        arrays = (dictionary, relevant, irrelevant, kappa, sign, labels)
        made._set(dict(zip(_CODES, arrays, strict=True)), query_attends)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (*self.arrays.values(), self.query_attends)

    @property
    def arrays(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in _CODES}

    def moved(self, move: Callable[[Any], Any]) -> "CodedPrompts":
        """The same prompts with their arrays moved elsewhere: `nlicl.to_device`, `nlicl.to_host`."""
        arrays = _all_moved(move, self.arrays.values())
        made: Any = type(self).unchecked if move in (devices.place, devices.fetch) else type(self)
        return made(*arrays, self.query_attends)

    @property
    def length(self) -> int:
        """l, the number of contexts."""
        return self.relevant.shape[1] - 1

    def __len__(self) -> int:
        return len(self.relevant)

    def __getitem__(self, index: Any) -> Any:
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `CodedPrompts`."""
        if on_device(self.kappa):
            return _part(self, index)
        index = checked_index(index, len(self))
        if isinstance(index, int):
            return self[index : index + 1].dense()[0]
        packed = {name: array if name == "dictionary" else array[index] for name, array in self._packed.items()}
        return type(self).unchecked(**packed, query_attends=self.query_attends)

    def dense(self, dtype: DTypeLike = np.float64) -> Prompts:
        """The same prompts as arrays of tokens.

        Parameters
        ----------
        dtype : floating dtype
            Of the tokens, float64 if not said.

        Returns
        -------
        Prompts
        """
        dtype = inexact("dtype", dtype)
        if on_device(self.kappa):
            return devices.to_device(devices.to_host(self).dense(dtype))
        (B, rows), d, itemsize = self.relevant.shape, len(self.dictionary), np.dtype(dtype).itemsize
        at_once = min(16, B)
        check_tokens(B, rows, d, itemsize, rows * (2 * B + at_once * d) * itemsize)
        E = np.ascontiguousarray(self.dictionary.T, dtype)  # rows: one pattern each
        kappa, sign = self.kappa[..., None].astype(dtype), self.sign[..., None].astype(dtype)
        tokens = np.empty((*self.relevant.shape, E.shape[1]), dtype)
        part = np.empty(
            (at_once, *tokens.shape[1:]), dtype
        )  # block by block in cache: a third of the time of all at once
        for lo in range(0, len(self), len(part)):
            block = slice(lo, lo + len(part))
            out = tokens[block]
            term = part[: len(out)]
            np.take(E, self.irrelevant[block], axis=0, out=out, mode="clip")
            with np.errstate(over="ignore", invalid="ignore"):  # tokens that overflow are refused below
                out *= kappa[block]
                out += np.take(E, self.relevant[block], axis=0, out=term, mode="clip")
                out += np.multiply(sign[block], E[-1], out=term)
        return Prompts(tokens, self.labels, self.query_attends)

    def __repr__(self) -> str:
        d, K = self.dictionary.shape
        attends = ", query_attends=True" if self.query_attends else ""
        return f"CodedPrompts(B={len(self)}, l={self.length}, d={d}, {K} patterns{attends})"


def packed_codes(prompts: CodedPrompts, dtype: DTypeLike) -> tuple[np.ndarray, ...]:
    """What the coded kernels take: (dictionary, relevant, irrelevant, kappa, sign, labels), floating numbers in `dtype`.

    Not to be written to: what needs no conversion is the prompts' own memory.
    """
    return tuple(
        packed(array.astype(dtype, copy=False) if array.dtype.kind == "f" else array)
        for array in prompts._packed.values()
    )
