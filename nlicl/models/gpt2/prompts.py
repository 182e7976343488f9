"""Parameters and prompts of GPT-2.

| letter | size                                                    |
|--------|---------------------------------------------------------|
| C      | width of the residual stream                            |
| L      | layers, called blocks by others                         |
| H, D   | heads, and the width of each: C = H D                   |
| M      | hidden width of the MLP, 4 C as a rule                  |
| T      | tokens of a prompt; positions there are at least so many |
| d      | width of a token                                        |
| R      | tokens whose predictions are read                       |
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import as_array, check_finite, checked_index, fitting, frozen, given, real_array
from ...core.checks import boolean, instance, integer
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ..model import Batch
from ..notebook import params_html, prompt_html

__all__ = ["Params", "Prompt", "Prompts", "checked_params", "interleaved"]


class Params(NamedTuple):
    """Parameters of GPT-2; gradients have the same form. Matrices are (out, in): a layer is y = W x + b.

    Attributes
    ----------
    W_in, b_in : ndarray (C, d), (C,)
        Read-in of a token.
    wpe : ndarray (T, C)
        Position embeddings, a row for each place; there may be more of them than a prompt has tokens.
    gamma_1, beta_1 : ndarray (L, C)
        Weight and bias of each block's first LayerNorm.
    W_qkv, b_qkv : ndarray (L, 3, H, D, C), (L, 3, H, D)
        Queries, keys and values of each head. Their shape says how many heads there are.
    W_o, b_o : ndarray (L, C, C), (L, C)
        What the heads' outputs, side by side, add to the residual stream.
    gamma_2, beta_2 : ndarray (L, C)
        The second LayerNorm.
    W_fc, b_fc : ndarray (L, M, C), (L, M)
        First layer of the MLP.
    W_pr, b_pr : ndarray (L, C, M), (L, C)
        Its second layer.
    gamma_f, beta_f : ndarray (C,)
        The last LayerNorm.
    w_out, b_out : ndarray (C,), (1,)
        Read-out.
    """

    W_in: np.ndarray
    b_in: np.ndarray
    wpe: np.ndarray
    gamma_1: np.ndarray
    beta_1: np.ndarray
    W_qkv: np.ndarray
    b_qkv: np.ndarray
    W_o: np.ndarray
    b_o: np.ndarray
    gamma_2: np.ndarray
    beta_2: np.ndarray
    W_fc: np.ndarray
    b_fc: np.ndarray
    W_pr: np.ndarray
    b_pr: np.ndarray
    gamma_f: np.ndarray
    beta_f: np.ndarray
    w_out: np.ndarray
    b_out: np.ndarray

    def __repr__(self) -> str:
        layers, _, heads, _, C = (*np.shape(self.W_qkv), 0, 0, 0, 0, 0)[:5]
        sizes = f"layers={layers}, heads={heads}, width={C}, positions={len(np.atleast_1d(self.wpe))}"
        return f"gpt2.Params({sizes}, {sum(map(np.size, self))} numbers, {getattr(self.W_in, 'dtype', '?')})"

    def _repr_html_(self) -> str | None:
        return params_html(self)


_SHAPES = {
    "W_in": "(C, d)", "b_in": "(C,)", "wpe": "(positions, C)",
    "gamma_1": "(L, C)", "beta_1": "(L, C)", "W_qkv": "(L, three, H, D, C)", "b_qkv": "(L, three, H, D)",
    "W_o": "(L, C, C)", "b_o": "(L, C)", "gamma_2": "(L, C)", "beta_2": "(L, C)",
    "W_fc": "(L, M, C)", "b_fc": "(L, M)", "W_pr": "(L, C, M)", "b_pr": "(L, C)",
    "gamma_f": "(C,)", "beta_f": "(C,)", "w_out": "(C,)", "b_out": "(one,)",
}  # fmt: skip


def checked_params(params: Any, *, complex_too: bool = False) -> Params:
    """Parameters whose shapes go together, packed and finite.

    Parameters
    ----------
    params : Params
        Of floating dtypes.
    complex_too : bool
        Whether complex ones will do.

    Raises
    ------
    TypeError, ValueError
        No `Params`; an array of another dtype, or of a shape that does not go with the others; heads whose widths do not make
        up the width; NaN, infinity.
    """
    instance("params", params, Params)
    complex_too = boolean("complex_too", complex_too)
    shapes = {f"params.{name}": shape for name, shape in _SHAPES.items()}
    arrays = {f"params.{name}": array for name, array in params._asdict().items()}
    sizes: dict[str, tuple[int, str]] = {"three": (3, "queries, keys and values"), "one": (1, "one read-out")}
    found = Params(*fitting(arrays, shapes, sizes, complex_too=complex_too))
    (H, _), (D, _), (C, _) = (sizes[name] for name in "HDC")
    if H * D != C:
        raise InvalidValue(
            f"params.W_qkv has shape {found.W_qkv.shape}: {H} heads of width {D}; expected H D = C = {C}, the width."
        )
    return found


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes
    ----------
    tokens : ndarray (T, d)
        Tokens as rows, the query last. Kept without a copy.
    z : ndarray (R,)
        Labels of the tokens that are read, each -1 or +1.
    reads : tuple of int
        Which tokens are read, R of them in ascending order; the last one, if not given.
    causal : bool
        Whether a token attends to none behind it.
    """

    tokens: np.ndarray = field(repr=False)
    z: np.ndarray
    reads: tuple[int, ...] = None  # type: ignore[assignment]  # a tuple from __post_init__ on
    causal: bool = True

    def __post_init__(self) -> None:
        tokens = real_array(self.tokens, "tokens", "(T, d)", complex_too=True)
        z = as_array(self.z, "z")
        if z.ndim > 1:
            raise InvalidValue(f"z has shape {z.shape}; expected (R,), a label for each token that is read.")
        batch = Prompts(tokens[None], z.reshape(1, -1), self.reads, self.causal)
        object.__setattr__(self, "tokens", batch.tokens[0])
        object.__setattr__(self, "z", batch.labels[0])
        object.__setattr__(self, "reads", batch.reads)

    @classmethod
    def unchecked(cls, tokens: np.ndarray, z: np.ndarray, reads: tuple[int, ...], causal: bool) -> "Prompt":
        """From parts that are right by construction. Nothing is looked at."""
        made = object.__new__(cls)
        for name, value in (("tokens", tokens), ("z", z), ("reads", reads), ("causal", causal)):
            object.__setattr__(made, name, value)
        return made

    def _repr_html_(self) -> str | None:
        return prompt_html(self)


@dataclass(frozen=True, eq=False)
class Prompts(Batch):
    """A batch of prompts of one length.

    Parameters
    ----------
    tokens : array_like (B, T, d), floating
        Tokens as rows, the query last; B, T, d >= 1. Kept without a copy.
    labels : array_like (B,) or (B, R)
        Labels of the tokens that are read, each -1 or +1; stored as (B, R) in the tokens' dtype.
    reads : sequence of int, optional
        Which tokens' predictions are read, in ascending order; the last token, if not given. The loss of a prompt is the mean
        over them.
    causal : bool
        Whether a token attends to none behind it, as in GPT-2.

    Raises
    ------
    TypeError
        Tokens of an integer, boolean or object dtype; reads that are no integers.
    ValueError
        Wrong number of axes, none of something, labels of another shape or other than -1 and +1, reads that are not there or
        not in ascending order, NaN, infinity.
    """

    tokens: np.ndarray
    labels: np.ndarray
    reads: tuple[int, ...] = None  # type: ignore[assignment]  # a tuple from __post_init__ on
    causal: bool = True

    def __post_init__(self) -> None:
        tokens = real_array(self.tokens, "tokens", "(B, T, d)", complex_too=True)
        if tokens.size == 0:
            raise InvalidValue(f"tokens has shape {tokens.shape}; expected (B, T, d) with every size at least 1.")
        check_finite(tokens, "tokens")
        B, T, _ = tokens.shape
        reads = _checked_reads(self.reads, T)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "reads", reads)
        object.__setattr__(self, "labels", frozen(_checked_labels(self.labels, B, len(reads), tokens.dtype)))
        object.__setattr__(self, "causal", boolean("causal", self.causal))

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.tokens, self.labels, self.reads, self.causal)

    def cast(self, dtype: np.dtype) -> "Prompts":
        """The same prompts with tokens and labels in this dtype."""
        if self.tokens.dtype == dtype:
            return self
        return type(self)(self.tokens.astype(dtype), self.labels, self.reads, self.causal)

    @property
    def length(self) -> int:
        """T - 1, the number of tokens before the last one."""
        return self.tokens.shape[1] - 1

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Any) -> Any:
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `Prompts`."""
        index = checked_index(index, len(self))
        if isinstance(index, int):
            return Prompt.unchecked(self.tokens[index], self.labels[index], self.reads, self.causal)
        return type(self)(self.tokens[index], self.labels[index], self.reads, self.causal)

    def __repr__(self) -> str:
        B, T, d = self.tokens.shape
        reads = "" if self.reads == (T - 1,) else f", {len(self.reads)} of them read"
        return f"gpt2.Prompts(B={B}, T={T}{reads}, d={d}, {self.tokens.dtype}{'' if self.causal else ', causal=False'})"


def _checked_reads(reads: Any, T: int) -> tuple[int, ...]:
    if reads is None:
        return (T - 1,)
    array = as_array(reads, "reads")
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise InvalidType(
            f"reads {given(reads, array)}, of shape {array.shape}; expected integers, which tokens are read."
        )
    found = tuple(array.tolist())
    if not found or list(found) != sorted(set(found)) or found[0] < 0 or found[-1] >= T:
        raise InvalidValue(
            f"reads is {short(found)}; expected some of the tokens 0 to {T - 1}, in ascending order, each of them once."
        )
    return found


def _checked_labels(labels: Any, B: int, R: int, dtype: np.dtype) -> np.ndarray:
    array = as_array(labels, "labels")
    if array.shape == (B,) and R == 1:
        array = array[:, None]
    if array.shape != (B, R):
        raise InvalidValue(
            f"labels has shape {array.shape}; expected ({B}, {R}): a label for each token that is read of each prompt."
        )
    kinds = "fiuc" if dtype.kind == "c" else "fiu"
    if array.dtype.kind not in kinds or not np.all((array == 1) | (array == -1)):
        odd = [x for x in array.ravel().tolist() if x not in (1, -1)] or array.ravel().tolist()
        raise InvalidValue(f"labels holds {short(odd[:3])}; expected -1 or +1 only.")
    return np.array(array.astype(dtype))


def interleaved(tokens: np.ndarray, d_X: int) -> np.ndarray:
    """Tokens (x; y) taken apart: x_1, y_1, x_2, y_2, ..., x_query, each a token of its own, filled up with zeros.

    Parameters
    ----------
    tokens : ndarray (B, l+1, d)
        The query last, with y = 0.
    d_X : int
        Width of x, the first coordinates.

    Returns
    -------
    ndarray (B, 2l+1, d)

    Raises
    ------
    TypeError, ValueError
        Tokens that are no such array; a width that leaves nothing for x or for y.
    """
    tokens = real_array(tokens, "tokens", "(B, l+1, d)", complex_too=True)
    if tokens.size == 0:
        raise InvalidValue(f"tokens has shape {tokens.shape}; expected (B, l+1, d) with every size at least 1.")
    B, rows, d = tokens.shape
    d_X = integer("d_X", d_X, 1, d - 1)
    apart = np.zeros((B, 2 * rows, d), tokens.dtype)
    apart[:, ::2, :d_X] = tokens[:, :, :d_X]
    apart[:, 1::2, d_X:] = tokens[:, :, d_X:]
    return np.ascontiguousarray(apart[:, :-1])
