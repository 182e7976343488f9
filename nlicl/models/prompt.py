"""One prompt in the papers' column notation, as definitions and formulas take it."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Prompt"]


@dataclass(frozen=True)
class Prompt:
    """One prompt with its label, in the paper's column notation.

    Attributes
    ----------
    tokens : ndarray (l+1, d)
        Tokens as rows, the query last.
    z : float
        Label of the query, -1 or +1.
    query_attends : bool
        Whether the query is one of the tokens it attends to (the l+1 model); default no.
    """

    tokens: np.ndarray = field(repr=False)
    z: float
    query_attends: bool = False

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
