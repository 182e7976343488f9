"""How the result answers to one expression. Where it does so linearly, what the expression would have to be is known at once.

In a backward pass nearly every expression is a factor of the result: the result is affine in its value. Then one matrix,
found by as many runs as the value has entries, tells of thousands of alternatives whether they mend the result, without
running them.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["MOST", "Response"]

MOST = 160  # entries of an expression whose response is taken
_LINEAR = 1e-7
_EQUAL = 1e-7


class Response:
    """The result as an affine function of one expression's value.

    Parameters
    ----------
    run : callable
        run(value) -> the result, one vector, with another value for the expression; None if there is none.
    value : ndarray
        What the expression gives.
    result : ndarray
        What the function gives then.

    Attributes
    ----------
    matrix : ndarray (results, entries) or None
        None where the result is not affine in the value, or the value has too many entries.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], np.ndarray | None],
        value: np.ndarray,
        result: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self.value, self.result, self.matrix = value, result, None
        if not 0 < value.size <= MOST or not np.isfinite(value).all() or not np.isfinite(result).all():
            return
        size = float(abs(value).max()) or 1.0
        steps = [size * rng.standard_normal(value.shape) for _ in range(2)]
        with np.errstate(all="ignore"):
            found = [run(value + step) for step in (steps[0], steps[1], steps[0] + steps[1])]
            if any(one is None or not np.isfinite(one).all() for one in found):
                return
            one, other, both = (np.asarray(vector) - result for vector in found)
            scale = max(float(abs(vector).max(initial=0.0)) for vector in (one, other, both))
            if scale == 0 or abs(both - one - other).max() > _LINEAR * scale:
                return
            columns = []
            for n in range(value.size):
                step = np.zeros(value.size)
                step[n] = size
                answer = run(value + step.reshape(value.shape))
                if answer is None:
                    return
                columns.append((answer - result) / size)
            matrix = np.array(columns).T
            off = matrix @ steps[0].ravel() - one
        if np.isfinite(off).all() and abs(off).max() <= _LINEAR * scale:
            self.matrix = matrix

    @property
    def answers(self) -> bool:
        """Whether the result depends on the expression at all."""
        return self.matrix is not None and bool(self.matrix.any())

    def results(self, values: np.ndarray) -> np.ndarray:
        """The results (n, results) for n values (n, entries) of the expression."""
        assert self.matrix is not None
        return np.asarray(self.result + (values - self.value.ravel()) @ self.matrix.T)

    def factors(self, terms: np.ndarray, wanted: np.ndarray, scale: np.ndarray, known: np.ndarray) -> np.ndarray:
        """For n terms (n, entries): the factor with which one turns the result into what is wanted, NaN where none does."""
        assert self.matrix is not None
        answers = terms @ self.matrix.T
        answers = answers[:, known] / scale[known]
        missing = (wanted - self.result)[known] / scale[known]
        with np.errstate(all="ignore"):
            factors = (answers @ missing) / (answers * answers).sum(axis=1)
            off = abs(missing - factors[:, None] * answers).max(axis=1, initial=0.0)
        return np.where(off <= _EQUAL * abs(missing).max(initial=0.0), factors, np.nan)

    def fitting(self, values: np.ndarray, wanted: np.ndarray, scale: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Which of n values give what is wanted."""
        off = abs(self.results(values) - wanted)[:, known] / scale[known]
        return np.asarray(off.max(axis=1, initial=0.0) <= _EQUAL)
