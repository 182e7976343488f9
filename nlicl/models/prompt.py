"""One prompt in the papers' column notation, as definitions and formulas take it."""

from dataclasses import dataclass, field

import numpy as np

from ..core.arrays import real_array
from ..core.checks import boolean
from ..core.describe import short
from ..core.errors import InvalidType, InvalidValue
from .notebook import prompt_html

__all__ = ["Prompt"]


@dataclass(frozen=True)
class Prompt:
    """One prompt with its label, in the paper's column notation.

    Attributes
    ----------
    tokens : ndarray (l+1, d)
        Tokens as rows, the query last. Kept without a copy.
    z : float
        Label of the query, -1 or +1.
    query_attends : bool
        Whether the query is one of the tokens it attends to (the l+1 model); default no.

    Raises
    ------
    TypeError, ValueError
        Tokens that are no such array, a label that is no number.
    """

    tokens: np.ndarray = field(repr=False)
    z: float
    query_attends: bool = False

    def __post_init__(self) -> None:
        tokens = self.tokens
        if type(tokens) is not np.ndarray or tokens.dtype.kind not in "fc" or tokens.ndim != 2:
            tokens = real_array(tokens, "tokens", "(l+1, d)", complex_too=True)
            object.__setattr__(self, "tokens", tokens)
        if len(tokens) < 2 or not tokens.shape[1]:
            raise InvalidValue(f"tokens has shape {tokens.shape}; expected (l+1, d) with l, d >= 1, the query last.")
        if type(self.z) is not float and (
            not isinstance(self.z, (int, float, complex, np.number)) or isinstance(self.z, (bool, np.timedelta64))
        ):
            raise InvalidType(f"z is {short(self.z)}; expected the label of the query, a number.")
        object.__setattr__(self, "query_attends", boolean("query_attends", self.query_attends))

    @property
    def P(self) -> np.ndarray:
        """The prompt matrix P (d, l+1): columns p_1 .. p_l, p_query."""
        return self.tokens.T

    @property
    def contexts(self) -> np.ndarray:
        """p_1 .. p_l as columns (d, l)."""
        return self.tokens[:-1].T

    @property
    def keys(self) -> np.ndarray:
        """What the query attends to, as columns: the contexts (d, l), or all of P (d, l+1) if it attends to itself."""
        return self.P if self.query_attends else self.contexts

    @property
    def query(self) -> np.ndarray:
        """p_query (d,)."""
        return self.tokens[-1]

    def _repr_html_(self) -> str | None:
        return prompt_html(self)
