"""Parameters and prompts of the one-nearest-neighbour transformer. Notation: see `nlicl.papers.onenn2024`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import as_array, check_finite, checked_index, frozen, given, real_array
from ...core.checks import integer, real
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_tokens
from ..model import Batch
from ..notebook import params_html, prompt_html

__all__ = ["Params", "Prompt", "Prompts", "codes"]


class Params(NamedTuple):
    """The trained parameter; gradients have the same form.

    Attributes
    ----------
    W : ndarray (E, E), E = d + K + 1, or d + 2 for binary labels
        The merged W_K^T W_Q: score_j = h_j^T W h_0, rows for keys, columns for the query. Blocks by rows and columns: d of
        the input, those of the label, one of the query's mark.
    """

    W: np.ndarray

    def __repr__(self) -> str:
        return f"Params(W {np.shape(self.W)}, {getattr(self.W, 'dtype', '?')})"

    def _repr_html_(self) -> str | None:
        return params_html(self)


@dataclass(frozen=True, eq=False)
class Prompt:
    """One prompt, in the papers' column notation: P is H, (E, N+1), with columns h_1 .. h_N and the query h_0 last.

    Attributes
    ----------
    tokens : ndarray (N+1, E)
        Tokens (x_j, u_j, 0) as rows, the query (x_0, 0, 1) last.
    nearest : int
        i*, the context whose label is the target, from 0.
    K : int or None
        Classes; None: binary labels +-1.
    mixture : float
        The share c of the cross-entropy in the loss "mixture".
    """

    tokens: np.ndarray
    nearest: int
    K: int | None = None
    mixture: float = 0.5

    @property
    def width(self) -> int:
        """Of a label code: K, or 1 for binary labels."""
        return 1 if self.K is None else self.K

    @property
    def d(self) -> int:
        """Dimension of the inputs."""
        return self.tokens.shape[1] - 1 - self.width

    @property
    def kappa(self) -> float:
        """(K-1)/K, or 1 for binary labels."""
        return 1.0 if self.K is None else (self.K - 1) / self.K

    @property
    def P(self) -> np.ndarray:
        """H (E, N+1): columns h_1 .. h_N, h_0."""
        return self.tokens.T

    @property
    def h_0(self) -> np.ndarray:
        """The query's token (x_0, 0, 1), (E,)."""
        return self.tokens[-1]

    @property
    def X(self) -> np.ndarray:
        """All inputs x_1 .. x_N, x_0 as columns (d, N+1)."""
        return self.tokens[:, : self.d].T

    @property
    def V(self) -> np.ndarray:
        """The label rows of H (K, N+1): codes u_1 .. u_N, and 0 for the query; (1, N+1) for binary labels."""
        return self.tokens[:, self.d : -1].T

    @property
    def target(self) -> np.ndarray:
        """u_{c*}, the nearest context's code (K,), or its label (1,)."""
        return self.tokens[self.nearest, self.d : -1]

    @property
    def c(self) -> int:
        """c*, the nearest context's class, from 0; or its label, -1 or +1."""
        code = self.target
        return int(np.argmax(code)) if self.K is not None else int(code[0].real)

    def _repr_html_(self) -> str | None:
        return prompt_html(self)


def codes(classes: np.ndarray, K: int | None, dtype: Any = np.float64) -> np.ndarray:
    """The code of each class, u_c = e_c - 1/K, along a new last axis; of a binary label itself.

    Parameters
    ----------
    classes : ndarray of int (...)
        From 0 to K - 1, or -1 and +1. They are not checked.
    K : int or None
        Classes; None: binary labels.
    dtype : dtype

    Returns
    -------
    ndarray (..., K), or (..., 1)
    """
    if K is None:
        return classes[..., None].astype(dtype)
    table = np.eye(K, dtype=dtype) - np.ones((), dtype) / K
    return table[classes]


@dataclass(frozen=True, eq=False)
class Prompts(Batch):
    """A batch of prompts of one length.

    Parameters
    ----------
    inputs : array_like (B, N+1, d), floating
        x_1 .. x_N, and the query x_0 last; B, N, d >= 1. The papers' lie on the unit sphere; any vectors will do.
    classes : array_like of int (B, N)
        Of the contexts, from 0 to K - 1; or labels -1 and +1 where K is None.
    K : int or None
        Number of classes, at least 2; None: binary labels.
    mixture : float in [0, 1]
        c of the loss "mixture", (1-c) squared + c cross-entropy.

    The target is the label of the context that is nearest to the query, of the first of them where several are. The arrays are
    kept as read-only copies.

    Raises
    ------
    TypeError, ValueError
        Wrong shapes or dtypes, a class that there is not, NaN, infinity.
    """

    inputs: np.ndarray
    classes: np.ndarray
    K: int | None = None
    mixture: float = 0.5

    query_attends = True

    def __post_init__(self) -> None:
        inputs = real_array(self.inputs, "inputs", "(B, N+1, d)")
        B, rows, d = inputs.shape
        if B == 0 or rows < 2 or d == 0:
            raise InvalidValue(
                f"inputs has shape {inputs.shape}; expected (B, N+1, d) with B >= 1 prompts of N >= 1 contexts, the query "
                "last, and d >= 1."
            )
        check_finite(inputs, "inputs")
        if self.K is not None:
            object.__setattr__(self, "K", integer("K", self.K, 2))
        mixture = real("mixture", self.mixture, "from 0 to 1, the cross-entropy's share", lambda c: 0 <= c <= 1)
        object.__setattr__(self, "mixture", mixture)
        object.__setattr__(self, "inputs", frozen(np.array(inputs, order="C")))
        object.__setattr__(self, "classes", frozen(_classes(self.classes, (B, rows - 1), self.K)))

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's, and the contexts that are nearest."""
        return _restored, (self.inputs, self.classes, self.K, self.mixture, self.nearest)

    @property
    def length(self) -> int:
        """N, the number of contexts."""
        return self.classes.shape[1]

    @property
    def width(self) -> int:
        """Of a label code: K, or 1 for binary labels."""
        return 1 if self.K is None else self.K

    @property
    def size(self) -> int:
        """E, the width of a token: d + K + 1, or d + 2."""
        return self.inputs.shape[2] + self.width + 1

    @cached_property
    def nearest(self) -> np.ndarray:
        """i* (B,), the context with the smallest ||x_j - x_0||, the lowest index of several; from 0."""
        return frozen(_nearest(self.inputs))

    @property
    def targets(self) -> np.ndarray:
        """The class, or the label, of the nearest context (B,)."""
        return np.take_along_axis(self.classes, self.nearest[:, None], axis=1)[:, 0]

    @property
    def tokens(self) -> np.ndarray:
        """Tokens (x_j, u_j, 0) as rows, the query (x_0, 0, 1) last (B, N+1, E), in the dtype of the inputs."""
        return frozen(self.operands[0])

    @cached_property
    def operands(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (B, N+1, E) and nearest contexts (B,) as kernels take them. Do not write to them."""
        B, rows, d = self.inputs.shape
        check_tokens(B, rows, self.size, self.inputs.itemsize)
        tokens = np.zeros((B, rows, self.size), self.inputs.dtype)
        tokens[..., :d] = self.inputs
        tokens[:, :-1, d:-1] = codes(self.classes, self.K, self.inputs.dtype)
        tokens[:, -1, -1] = 1
        return tokens, np.array(self.nearest)

    def cast(self, dtype: np.dtype) -> "Prompts":
        """The same prompts for parameters of this dtype; the nearest contexts stay those of the given inputs."""
        if self.inputs.dtype == dtype:
            return self
        cast = Prompts(self.inputs.astype(dtype), self.classes, self.K, self.mixture)
        cast.__dict__["nearest"] = self.nearest
        return cast

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Any) -> Any:
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `Prompts`."""
        index = checked_index(index, len(self))
        if isinstance(index, int):
            return Prompt(self.tokens[index], int(self.nearest[index]), self.K, self.mixture)
        some = Prompts(self.inputs[index], self.classes[index], self.K, self.mixture)
        some.__dict__["nearest"] = frozen(self.nearest[index])
        return some

    def __repr__(self) -> str:
        B, rows, d = self.inputs.shape
        labels = "binary" if self.K is None else f"K={self.K}"
        return f"Prompts(B={B}, N={rows - 1}, d={d}, {labels}, {self.inputs.dtype})"


def _restored(inputs: Any, classes: Any, K: int | None, mixture: float, nearest: np.ndarray) -> Prompts:
    prompts = Prompts(inputs, classes, K, mixture)
    prompts.__dict__["nearest"] = frozen(nearest)
    return prompts


@np.errstate(over="ignore", under="ignore", invalid="ignore")
def _nearest(inputs: np.ndarray) -> np.ndarray:
    """The first of the contexts with the smallest distance to the query (B,), however large or small distances are."""
    gaps = inputs[:, :-1] - inputs[:, -1:]
    squares = np.einsum("bnd,bnd->bn", gaps, gaps)
    found = squares.argmin(axis=1)
    range_ = np.finfo(inputs.dtype)
    lost = ~np.isfinite(squares).all(axis=1) | (squares.min(axis=1) < range_.tiny / range_.eps)
    if lost.any():
        found[lost] = _nearest_by_exponents(inputs[lost])
    return found


def _nearest_by_exponents(inputs: np.ndarray) -> np.ndarray:
    """The same where squares overflow or vanish: a distance is a number of usual size and an exponent of 2."""
    gaps = inputs[:, :-1] / 2 - inputs[:, -1:] / 2
    _, exponents = np.frexp(abs(gaps).max(axis=2))
    scaled = np.ldexp(gaps, -exponents[:, :, None])
    norms, more = np.frexp(np.sqrt(np.einsum("bnd,bnd->bn", scaled, scaled)))
    exponents = np.where(norms > 0, exponents + more, np.iinfo(exponents.dtype).min)
    return np.lexsort((norms, exponents), axis=1)[:, 0]


def _classes(value: Any, shape: tuple[int, int], K: int | None) -> np.ndarray:
    """Classes as a new array of intp; or a clear error."""
    classes = as_array(value, "classes")
    if classes.dtype.kind not in "iu":
        raise InvalidType(
            f"classes {given(value, classes)}; expected integers. Give numpy.asarray(classes).astype(numpy.int32)."
        )
    if classes.shape != shape:
        raise InvalidValue(f"classes has shape {classes.shape}; expected {shape}, one for each context of inputs.")
    if K is None:
        wrong, expected = (classes != 1) & (classes != -1), "labels -1 and +1, as K is None"
    else:
        wrong, expected = (classes < 0) | (classes >= K), f"classes from 0 to {K - 1}, as K is {K}"
    if wrong.any():
        n, i = np.argwhere(wrong)[0]
        raise InvalidValue(f"classes[{n}, {i}] is {classes[n, i]}; expected {expected}.")
    return classes.astype(np.intp)
