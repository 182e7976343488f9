"""Whether a mend holds where the numbers and the sizes of the reader's data are others.

2 for the square root of a width of 4 agrees at every point. It does not once the width is 5.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..mend.program import Program
from .fresh import Fresh, far, longer
from .function import Function

__all__ = ["Steady"]

_LENGTHS = 5
_PLACES = 3


class Steady:
    """Tells of a mend whether it still holds with other data.

    Parameters
    ----------
    function : Function
        With the reader's own functions. Their file's names are changed for a moment, so this is for a process of its own.
    rng : Generator
    late : callable
        late() says when to stop.
    """

    def __init__(self, function: Function, rng: np.random.Generator, late: Callable[[], bool]) -> None:
        self.function, self.rng, self.late = function, rng, late

    def holds(self, edited: Program) -> bool:
        """Whether it is right with all other data that the loss takes."""
        with edited.everywhere():
            if self._is_wrong(self.function.arrays):  # compiled functions, say, do not run the text's code
                return True
        names = edited.units[0].original.__globals__
        for changes, x in self._variants(names, edited.data_names(), edited.held()):
            if self.late():
                break
            before = {name: names[name] for name in changes}
            names.update(changes)
            try:
                with edited.everywhere():
                    if self._is_wrong(x):
                        return False
            finally:
                names.update(before)
        return True

    def _is_wrong(self, x: list[np.ndarray]) -> bool:
        try:
            base = self.function.at_sizes(x)
            places = ([*base.arrays] if n == 0 else far(base.arrays, self.rng) for n in range(3 * _PLACES))
            return Fresh(base, self.rng, {}).at(places, self.late, _PLACES) is None
        except Exception:  # the loss takes no such data
            return False

    def _variants(
        self, names: dict[str, Any], used: list[str], held: list[Any]
    ) -> Iterator[tuple[dict[str, Any], list[np.ndarray]]]:
        """Other values for the file's numbers, and all that has one length one longer."""
        x = self.function.arrays
        known = {name: names[name] for name in used if name in names}
        # a number that a closure or an object holds as well would be changed in one place only
        kept = {float(value) for value in held if isinstance(value, (float, np.floating))}
        single = {name: value for name, value in known.items() if isinstance(value, (float, np.floating))}
        floats = {name: value for name, value in single.items() if float(value) not in kept}
        if floats:
            yield {name: type(value)(value * self.rng.uniform(1.05, 1.2)) for name, value in floats.items()}, x
        arrays = {name: value for name, value in known.items() if isinstance(value, np.ndarray) and value.ndim}
        lengths = sorted({size for array in (*x, *arrays.values()) for size in array.shape if size > 1})
        for length in lengths[:_LENGTHS]:
            for more in (1, length):  # one more, and twice as many, for data that come in pairs

                def grown(array: np.ndarray, length: int = length, more: int = more) -> np.ndarray:
                    return longer(array, length, self.rng, more)

                changes: dict[str, Any] = {
                    name: grown(value) for name, value in arrays.items() if length in value.shape
                }
                whole = {name: value for name, value in known.items() if type(value) is int and value == length}
                changes |= {name: value + more for name, value in whole.items()}
                if changes:
                    yield changes, [grown(array) for array in x]
