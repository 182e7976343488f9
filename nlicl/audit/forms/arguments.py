"""The arguments of an audit of any function: the point that a caller hands over, as a list of named real arrays.

`Arguments` knows the form of x. It calls the caller's functions with other numbers in that form, and reads what they return.
"""

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.errors import InvalidType, InvalidValue
from . import gradients, returned
from .leaves import differentiable, rebuilt
from .tree import (
    Branch,
    Leaf,
    Node,
    copied,
    is_number,
    is_numbers,
    is_record,
    is_sequence,
    items_of,
    kind,
    leaves_of,
    library,
    look,
    part_of,
    put_together,
    same,
    take_apart,
    to_numpy,
    written,
)

__all__ = ["Arguments"]


class Arguments:
    """A point x in the form that a caller's functions take.

    Parameters
    ----------
    x : array, number, or a list, tuple, named tuple, dict or dataclass of them, nested as they are
        A list or tuple of numbers is one array. A list or tuple of arrays is several arguments, `loss(*x)`. Everything
        else is one argument, `loss(x)`. In several, an integer, a text or another object is data: not differentiated.
    names : sequence of str, optional
        One for each leaf of x, or for each of several arguments.
    wrt : str, int, or a sequence of them, optional
        The leaves to differentiate; the others are data. An integer counts the arguments, or the parts of the only one.
    loss : callable, optional
        Its signature decides whether a list is several arguments or one.

    Attributes
    ----------
    names : list of str
        Of the differentiated leaves.
    arrays : list of ndarray
        Their numbers, float64 or float32, finite, read-only copies.
    several : bool
        Whether x is several arguments.

    Raises
    ------
    TypeError, ValueError
        What cannot be differentiated, with the way to mend it; names or wrt that do not fit.
    """

    names: list[str]
    arrays: list[np.ndarray]
    several: bool

    def __init__(
        self, x: Any, names: Sequence[str] | None = None, wrt: Any = None, loss: Callable[..., Any] | None = None
    ) -> None:
        self.several = _is_several(x, loss)
        self._tree = take_apart(x, whole=not self.several)
        if isinstance(self._tree, Branch) and next(leaves_of(self._tree), None) is None:
            raise InvalidValue(f"x is {look(x)}, and holds nothing; expected at least one array.")
        _check_call(self._tree, self.several, loss)
        leaves = list(leaves_of(self._tree))
        self._names = dict(zip(map(id, leaves), _leaf_names(self._tree, leaves, names), strict=True))
        self._aliases = _parameters(self._tree, loss) if self.several else ()
        asked, allowed = self._chosen(wrt, leaves)
        alone = isinstance(self._tree, Leaf)
        self._index: dict[int, int] = {}
        self.names, self.arrays = [], []
        for leaf in leaves:
            if id(leaf) not in allowed:
                continue
            name = self._names[id(leaf)]
            array = differentiable(leaf.given, name, must=alone or id(leaf) in asked)
            if array is not None:
                self._index[id(leaf)] = len(self.names)
                self.names.append(name)
                self.arrays.append(array)
        self._try_form(x)
        if not self.names:
            kinds = ", ".join(f"{self._names[id(leaf)]} is {_dtype(leaf.given)}" for leaf in leaves[:4])
            raise InvalidType(
                f"x holds nothing to differentiate: {kinds}; expected a floating array. Convert one by .astype(float), or "
                "name it by wrt=."
            )

    def call(
        self,
        function: Callable[..., Any],
        leaves: Sequence[Any],
        *,
        along: Sequence[Any] | None = None,
        original_dtype: bool = True,
    ) -> tuple[Any, list[str]]:
        """What a function returns for other numbers in the form of x, and which of its arguments it altered in place.

        Parameters
        ----------
        function : callable
        leaves : sequence of arrays, one for each of `names`
            Real or complex arrays, or objects with a shape and `.copy()`; the function is given copies.
        along : sequence of arrays, optional
            A direction: the function is called with x and then with the direction in the same form. Of several
            arguments, the data is in the direction too if the function takes so many.
        original_dtype : bool
            Whether an array of torch or JAX has the dtype of the one in x, or that of the leaf.

        Returns
        -------
        (object, list of str)
            What the function returns, and the names of the leaves and the data that it changed.
        """
        handed: list[_Handed] = []
        arguments = self._form(leaves, original_dtype, handed)
        if along is not None:
            direction = self._form(along, original_dtype, [])
            if self.several and not _binds(function, (*arguments, *direction)):
                parts = self._tree.parts if isinstance(self._tree, Branch) else ()
                direction = [value for value, part in zip(direction, parts, strict=True) if self.differentiated(part)]
            arguments = [*arguments, *direction]
        result = function(*arguments)
        return result, [entry.name for entry in handed if entry.altered()]

    def number(self, value: Any) -> Any:
        """The value of the loss as one NumPy scalar; see `returned.number`."""
        return returned.number(value)

    def finite(self, value: Any) -> Any:
        """The value, if it is finite.

        Raises
        ------
        ValueError
            The loss is NaN or infinite at x.
        """
        if not np.isfinite(value):
            raise InvalidValue(f"loss is {written(value)} at x; expected a finite number.")
        return value

    def gradient(self, value: Any) -> list[np.ndarray]:
        """What `gradient` returned, a real floating array for each of `names`, of its shape, copied.

        Raises
        ------
        TypeError, ValueError
            Something else, with the way to mend it.
        """
        return gradients.gradient(value, self)

    def split_pair(self, value: Any) -> tuple[Any, Any]:
        """(loss, gradient) of a function that returns both; see `returned.split_pair`."""
        return returned.split_pair(value)

    def differs(self, other: "Arguments") -> str:
        """How another point is not in the form of this one, or has other data; empty if it is another place of it."""
        mine, theirs = list(leaves_of(self._tree)), list(leaves_of(other._tree))
        names = [self.name_of(leaf) for leaf in mine], [other.name_of(leaf) for leaf in theirs]
        if names[0] != names[1]:
            return f"holds {', '.join(names[1])}; expected {', '.join(names[0])}, as x does"
        for leaf, there in zip(mine, theirs, strict=True):
            if self.index_of(leaf) is None and not _alike(leaf.given, there.given):
                return (
                    f"has other data than x, in {self.name_of(leaf)}; expected the same, since loss and gradient are given "
                    "x's. Audit once more with that x"
                )
        return ""

    @property
    def tree(self) -> Node:
        """The form of x."""
        return self._tree

    def name_of(self, leaf: Leaf) -> str:
        """What a leaf is called in messages."""
        return self._names[id(leaf)]

    def index_of(self, leaf: Leaf) -> int | None:
        """Where a leaf of the tree is in `names`; None if it is data."""
        return self._index.get(id(leaf))

    def differentiated(self, node: Node) -> bool:
        """Whether anything in this part of x is differentiated."""
        return any(id(leaf) in self._index for leaf in leaves_of(node))

    def keys(self, node: Branch) -> list[tuple[Any, ...]]:
        """For each part of a branch the keys under which a dict may hold its gradient."""
        named = [self.name_of(part) if isinstance(part, Leaf) else part.name for part in node.parts]
        aliases = self._aliases if node is self._tree and len(self._aliases) == len(node.parts) else ()
        return [(key, name, *aliases[k : k + 1]) for k, (key, name) in enumerate(zip(node.keys, named, strict=True))]

    def _form(self, leaves: Sequence[Any], original_dtype: bool, handed: "list[_Handed]") -> list[Any]:
        def made(leaf: Leaf, holder: Any, key: Any) -> Any:
            index = self._index.get(id(leaf))
            value = copied(leaf.given) if index is None else rebuilt(leaf.given, leaves[index], original_dtype)
            before = leaf.given if index is None else leaves[index]
            handed.append(_Handed(self._names[id(leaf)], value, before, holder, key))
            return value

        if self.several and isinstance(self._tree, Branch):
            return [put_together(part, made) for part in self._tree.parts]
        return [put_together(self._tree, made)]

    def _try_form(self, x: Any) -> None:
        try:
            self._form(self.arrays, True, [])
        except Exception as error:
            raise InvalidType(
                f"x is {look(x)}, of which no copy can be made with other numbers ({kind(error)}); expected arrays in lists, "
                "tuples, dicts, named tuples or dataclasses."
            ) from None

    def _chosen(self, wrt: Any, leaves: list[Leaf]) -> tuple[set[int], set[int]]:
        """Ids of the leaves that are asked for by name, and of all that may be differentiated."""
        everything = {id(leaf) for leaf in leaves}
        if wrt is None:
            return set(), everything
        wanted = items_of(wrt) if is_sequence(wrt) else [wrt]
        if not wanted:
            raise InvalidValue("wrt is empty; expected the name of an array of x, its index, or a list of them.")
        asked: set[int] = set()
        allowed: set[int] = set()
        parts = self._tree.parts if isinstance(self._tree, Branch) else (self._tree,)
        for item in wanted:
            if issubclass(type(item), str):
                node = self._named(item)
            elif is_number(item) and issubclass(type(item), (int, np.integer)) and type(item) is not bool:
                if not -len(parts) <= item < len(parts):
                    raise InvalidValue(
                        f"wrt is {written(item)}; expected an index from 0 to {len(parts) - 1}, or a name."
                    )
                node = parts[int(item)]
            else:
                raise InvalidType(
                    f"wrt is {look(item)}; expected the name of an array of x, its index, or a list of them."
                )
            allowed |= {id(leaf) for leaf in leaves_of(node)}
            if isinstance(node, Leaf):
                asked.add(id(node))
        return asked, allowed

    def _named(self, name: str) -> Node:
        known: dict[str, Node] = {}

        def walk(node: Node) -> None:
            known.setdefault(self._names.get(id(node), node.name), node)
            if isinstance(node, Branch):
                for part in node.parts:
                    walk(part)

        walk(self._tree)
        if isinstance(self._tree, Branch) and len(self._aliases) == len(self._tree.parts):
            for alias, part in zip(self._aliases, self._tree.parts, strict=True):
                known.setdefault(alias, part)
        if name not in known:
            names = list(self._names.values())
            close = [other for other in known if other.lower() == name.lower()]
            close += difflib.get_close_matches(name, list(known), 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise InvalidValue(f"wrt is {written(name)}; expected one of {shown}.{hint}")
        return known[name]


class _Handed:
    """A value that a function was given, to see afterwards whether it is the same."""

    def __init__(self, name: str, value: Any, before: Any, holder: Any, key: Any) -> None:
        self.name, self._value, self._holder, self._key = name, value, holder, key
        where = library(value)
        self._before = np.asarray(before) if where == "numpy" else to_numpy(value).copy() if where == "torch" else None

    def altered(self) -> bool:
        """Whether it holds other numbers now, or another value took its place in its list or dict."""
        if self._before is not None and not same(self._before, to_numpy(self._value)):
            return True
        if self._holder is None:
            return False
        try:
            return part_of(self._holder, self._key) is not self._value
        except (LookupError, InvalidType):  # taken out
            return True


def _is_several(x: Any, loss: Callable[..., Any] | None) -> bool:
    """Whether x is several arguments: a list or tuple of arrays, unless the loss takes only one."""
    if not is_sequence(x) or is_record(x):
        return False
    together, apart = _binds(loss, (x,)), _binds(loss, tuple(items_of(x)))
    return (apart and not together) if is_numbers(x) else (apart or not together)


def _binds(function: Any, arguments: tuple[Any, ...], follow: bool = True) -> bool:
    """Whether a function takes these arguments, as far as its signature is known."""
    try:
        signature = inspect.signature(function, follow_wrapped=follow)
    except Exception:  # no Python function, or none at all
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _check_call(tree: Node, several: bool, loss: Callable[..., Any] | None) -> None:
    """TypeError if the loss cannot be called with x, with the form in which it could."""
    arguments = tuple(part.given for part in tree.parts) if several and isinstance(tree, Branch) else (tree.given,)
    if _binds(loss, arguments) or _binds(loss, arguments, follow=False):
        return
    taken = f"loss takes {inspect.signature(loss)}"  # type: ignore[arg-type]
    if several:
        called = f"is {look(tree.given)}, for a loss of {len(arguments)} arguments or of one list"
        mend = "Give as many as it takes."
    elif isinstance(tree.given, dict):
        called, mend = f"is {look(tree.given)}, for loss(x)", "Give loss=lambda p: f(**p), and the gradient likewise."
    else:
        called, mend = (
            f"is {look(tree.given)}, for loss(x)",
            "Give a tuple of its arguments, or lambda x: loss(x, ...).",
        )
    raise InvalidType(f"x {called}; {taken}. {mend}")


def _parameters(tree: Node, loss: Callable[..., Any] | None) -> tuple[str, ...]:
    """What the loss calls its arguments."""
    try:
        parameters = list(inspect.signature(loss).parameters.values())  # type: ignore[arg-type]
    except Exception:
        return ()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return tuple(positional[: len(tree.parts)]) if isinstance(tree, Branch) else ()


def _leaf_names(tree: Node, leaves: list[Leaf], names: Any) -> list[str]:
    """A name for each leaf: the given ones, or those made of keys and indices."""
    own = [leaf.name for leaf in leaves]
    if names is None:
        seen = [own[:k].count(name) for k, name in enumerate(own)] if len(set(own)) < len(own) else [0] * len(own)
        return [f"{name} ({before + 1})" if before else name for name, before in zip(own, seen, strict=True)]
    parts = tree.parts if isinstance(tree, Branch) else (tree,)
    count = f"{len(leaves)}, one for each array of x"
    if issubclass(type(names), str) and len(names) != len(leaves):
        raise InvalidType(
            f"names is a text; expected a list of names, one for each array of x, such as [{written(names)}]."
        )
    if not is_sequence(names) and not issubclass(type(names), str):
        raise InvalidType(f"names is {look(names)}; expected a list of {count}.")
    names = items_of(names) if is_sequence(names) else list(names)
    for name in names:
        if not issubclass(type(name), str) or not name:
            raise InvalidType(f"names holds {look(name)}; expected a list of names, each a text that is not empty.")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidValue(f"names holds {written(twice)} twice; expected another name for each array of x.")
    if len(names) == len(leaves):
        return names
    if len(names) == len(parts):
        return [
            name + leaf.name.removeprefix(part.name)
            for name, part in zip(names, parts, strict=True)
            for leaf in leaves_of(part)
        ]
    raise InvalidValue(
        f"names has {len(names)} {'entry' if len(names) == 1 else 'entries'}; expected {count}: {', '.join(own[:6])}."
    )


def _alike(one: Any, other: Any) -> bool:
    """Whether two parts of data are the same."""
    if one is other:
        return True
    try:
        return bool(np.array_equal(to_numpy(one), to_numpy(other), equal_nan=False))
    except Exception:
        return False


def _dtype(value: Any) -> str:
    return f"of dtype {value.dtype}" if library(value) else look(value)
