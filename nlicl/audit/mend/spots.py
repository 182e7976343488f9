"""An expression of a program, with all that may stand for it, and how the result answers."""

import ast
import copy
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .alternatives import alternatives
from .atoms import Atom, arrays, indexed, numbers
from .forward import Forward
from .program import Program
from .response import Response
from .templates import Made as Template
from .templates import beside, changes, softmaxes, terms
from .watch import Hole, numeric

__all__ = ["Code", "Option", "Spot", "replaced"]

Code = str | ast.expr  # a template in which HERE is the expression; or an expression
Made = tuple[float, Code, np.ndarray]  # cost, what stands there, its values at all visits, one after the other


class Option(NamedTuple):
    """A value for an expression, at all visits one after the other, and the codes that give it here, the cheapest first."""

    value: np.ndarray
    codes: list[tuple[float, Code]]

    @property
    def cost(self) -> float:
        """Of the cheapest code."""
        return self.codes[0][0]


_SPELLINGS = 6  # codes of one value that are kept: elsewhere their values may differ
_LOOP_TERMS = 12  # visits beyond which fewer alternatives are made
_LOOP_DEAREST = 1.45  # there


class Spot:
    """An expression, or the same name in several places, that gave numbers; and how the result answers to their values.

    Parameters
    ----------
    program : Program
    holes : list of Hole
        One expression; or all places of one name, for which the same stands everywhere.
    data : dict
        Names around the functions, with their values.
    loss : Forward or None
        Whose expressions could stand here.
    result : callable
        result(root) -> the result at the place, one vector, or None.
    vector : ndarray
        The result as it is.
    rng : Generator
    """

    def __init__(
        self,
        program: Program,
        holes: list[Hole],
        data: dict[str, Any],
        loss: Forward | None,
        result: Callable[[Callable[..., Any]], np.ndarray | None],
        vector: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self.program, self.holes, self._data, self._loss, self._result = program, holes, data, loss, result
        self.hole = holes[0]
        given = [(n, value) for n, hole in enumerate(holes) for value in hole.values]
        self.values = [np.asarray(value, float) for _, value in given]
        self._scopes = [scope for hole in holes for scope in hole.scopes]
        self._kinds = [(n, type(value)) for n, value in given]
        self.value = np.concatenate([np.ravel(value) for value in self.values])
        function = program.units[self.hole.unit].node
        for n, hole in enumerate(holes):
            call = ast.Call(ast.Name("nlicl_put", ast.Load()), [ast.Constant(n)], [])
            function = replaced(function, hole.node, call)
        self._function = program.build(self.hole.unit, function)
        self.siblings: list[Atom] = []
        self._vector, self._rng = vector, rng

    @cached_property
    def response(self) -> Response:
        """How the result answers to the values: found by as many runs as there are numbers."""
        return Response(self.run, self.value, self._vector, self._rng)

    @property
    def linear(self) -> bool:
        """Whether the result is affine in the expression's values."""
        return self.response.matrix is not None

    def run(self, flat: np.ndarray) -> np.ndarray | None:
        """The result with other values for the expression, visit by visit."""
        parts: list[list[Any]] = [[] for _ in self.holes]
        start = 0
        for value, (n, kind) in zip(self.values, self._kinds, strict=True):
            part = flat[start : start + value.size].reshape(value.shape)
            parts[n].append(_like_given(np.array(part), kind))
            start += value.size
        left = [iter(part) for part in parts]

        def put(number: int) -> Any:
            return next(left[number])

        self.program.globals["nlicl_put"] = put
        root = self.program.having(self.hole.unit, self._function)
        try:
            return self._result(root)
        finally:
            self.program.restore(self.hole.unit)
            del self.program.globals["nlicl_put"]

    def names(self, visit: int = 0) -> dict[str, Any]:
        """The names that the expression could use at a visit, with their values."""
        return {**self._data, **self._scopes[visit]}

    def blocks(self) -> list[slice]:
        """Which of the values are of which place of the name."""
        ends = np.cumsum([0, *(sum(np.size(value) for value in hole.values) for hole in self.holes)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    def slips(self) -> list[Option]:
        """The reader's own code a little changed, where it keeps its shape."""
        return self._options(self._own())

    def templates(self) -> list[Option]:
        """What may be done to the expression, where it keeps its shape."""
        return self._options(self._made(self._changes))

    def _options(self, made: Iterator[Made]) -> list[Option]:
        """The same by value: the cheapest codes of each that is not the expression's own."""
        dearer = 0.15 * (len(self.holes) - 1)
        found: dict[bytes, list[tuple[float, Code]]] = {self.value.tobytes(): []}
        values: dict[bytes, np.ndarray] = {}
        for cost, code, value in made:
            key = value.tobytes()
            if key not in found:
                if not np.isfinite(value).all():
                    continue
                found[key], values[key] = [], value
            found[key].append((cost + dearer, code))
        for codes in found.values():
            codes.sort(key=lambda one: one[0])
        return [Option(value, found[key][:_SPELLINGS]) for key, value in values.items()]

    def terms(self) -> list[Made]:
        """What may be added to the expression, with a factor."""
        if len(self.holes) > 1 or len(self.values) > _LOOP_TERMS:
            return []
        if len(self.values) > 1:
            return list(self._made(lambda e, atoms, visit: terms(e, [*atoms, *numbers(self.names(visit))])))
        loss = self._loss.atoms(self.names()) if self._loss is not None else []
        return list(self._made(lambda e, atoms, visit: terms(e, [*atoms, *self.siblings], loss)))

    @cached_property
    def others(self) -> list[tuple[float, Code]]:
        """What may stand for the expression that has another shape, or other numbers of visits."""
        if len(self.holes) > 1:
            return []
        found: list[tuple[float, Code]] = []
        e, names = self.values[0], self.names()
        around = {**self.program.globals, **names}
        single = len(self.values) == 1
        for cost, node in alternatives(self.hole, names):
            value = evaluated(node, around)
            if (value is None or value.shape != e.shape) and (not single or value is not None):
                found.append((cost, node))
        if single:
            with np.errstate(all="ignore"):
                made = changes(e, [*arrays(names), *numbers(names)])
                found += [(one.cost, one.text) for one in made if one.value.shape != e.shape]
        return found

    def _changes(self, e: np.ndarray, atoms: list[Atom], visit: int) -> Iterator[Template]:
        names = self.names(visit)
        dearest = 9.0 if len(self.values) <= _LOOP_TERMS else _LOOP_DEAREST
        loop = len(self.values) > len(self.holes)
        yield from changes(e, [*atoms, *numbers(names), *indexed(names, e, loop)], dearest)
        if len(self.values) == 1:
            yield from beside(e, self._loss.atoms(names) if self._loss is not None else [])
            yield from softmaxes(e, [*atoms, *self.siblings])

    def _own(self) -> Iterator[Made]:
        """Alternatives of the reader's code, evaluated where it stands."""
        arounds = [{**self.program.globals, **self.names(visit)} for visit in range(len(self.values))]
        for cost, node in alternatives(self.hole, self.names()):
            if len(self.holes) > 1 and not isinstance(node, (ast.Name, ast.Attribute)):
                continue
            code = compiled(node)
            if code is None:
                continue
            parts = []
            for around, e in zip(arounds, self.values, strict=True):
                value = _value(code, around)
                if value is None or value.shape != e.shape:
                    break
                parts.append(value.ravel())
            else:
                yield cost, node, np.concatenate(parts)

    def _made(self, make: Callable[[np.ndarray, list[Atom], int], Iterator[Template]]) -> Iterator[Made]:
        """Templates that have the expression's shape at every visit."""
        with np.errstate(all="ignore"):
            e = self.values[0]
            first = [made for made in make(e, arrays(self.names()), 0) if made.value.shape == e.shape]
            if len(self.values) == 1:
                for made in first:
                    yield made.cost, made.text, np.ravel(made.value)
                return
            found = {made.text: (made.cost, [np.ravel(made.value)]) for made in first}
            for visit in range(1, len(self.values)):
                e = self.values[visit]
                for made in make(e, arrays(self.names(visit)), visit):
                    if made.text in found and made.value.shape == e.shape:
                        found[made.text][1].append(np.ravel(made.value))
            for text, (cost, parts) in found.items():
                if len(parts) == len(self.values):
                    yield cost, text, np.concatenate(parts)


def _like_given(value: np.ndarray, kind: type) -> Any:
    """A value of the type that the code expects: an array, a number, a whole number where it is one."""
    if kind is np.ndarray:
        return value
    number = value[()]
    return int(number) if issubclass(kind, (int, np.integer)) and float(number).is_integer() else number


def compiled(node: ast.expr) -> Any:
    """An expression as code; None if it is none."""
    try:
        return compile(ast.fix_missing_locations(ast.Expression(copy.deepcopy(node))), "<edit>", "eval")
    except (SyntaxError, ValueError, TypeError, RecursionError):
        return None


def _value(code: Any, around: dict[str, Any]) -> np.ndarray | None:
    try:
        with np.errstate(all="ignore"):
            value = eval(code, dict(around))
    except Exception:
        return None
    return np.asarray(value, float) if numeric(value) else None


def evaluated(node: ast.expr, around: dict[str, Any]) -> np.ndarray | None:
    """An expression's value as an array; None if it has none."""
    code = compiled(node)
    return None if code is None else _value(code, around)


def replaced(function: Any, old: ast.AST, new: ast.AST | None) -> Any:
    """A copy of a function in which one node is another one; a statement that nothing stands for is passed over.

    Only the nodes above it are copied.
    """
    # what is new keeps no place of its own: the text is made from it later
    node = ast.Pass() if new is None else copy.deepcopy(new)
    for one in ast.walk(node):
        if not hasattr(one, "lineno"):
            ast.copy_location(one, old)
    child: ast.AST = node
    for parent, field, index in _above(function, old):
        made = copy.copy(parent)
        made.__dict__.pop("nlicl_parents", None)
        if index is None:
            setattr(made, field, child)
        else:
            items = list(getattr(parent, field))
            items[index] = child
            setattr(made, field, items)
        child = made
    return child


def _above(function: Any, node: ast.AST) -> list[tuple[ast.AST, str, int | None]]:
    """The nodes above one, the nearest first: (parent, its field, the index there)."""
    parents = getattr(function, "nlicl_parents", None)
    if parents is None:
        parents = {}
        for parent in ast.walk(function):
            for field, value in ast.iter_fields(parent):
                if isinstance(value, ast.AST):
                    parents[id(value)] = (parent, field, None)
                elif isinstance(value, list):
                    for index, one in enumerate(value):
                        parents[id(one)] = (parent, field, index)
        function.nlicl_parents = parents
    found = []
    while node is not function:
        found.append(parents[id(node)])
        node = found[-1][0]
    return found
