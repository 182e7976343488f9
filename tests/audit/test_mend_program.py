"""The reader's function built again from its text: it does what the original does, and shares nothing that it could change."""

import functools
import math

import numba
import numpy as np
import pytest

from nlicl.audit.mend.program import Program, Unread

SCALE = 3.0
COUNT = [0]
OTHER = 1


def plain(x, /, factor=2.0, *more, shift=1.0, **rest):
    """What it does."""
    return factor * x + shift + sum(more) + sum(rest.values())


def shared_default(x, seen=[]):  # noqa: B006
    seen.append(x)
    return len(seen)


def with_global(x):
    global OTHER
    OTHER += 1
    return SCALE * x + OTHER


def later():
    def function(x):
        return factor * x

    factor = 4.0

    def change(value):
        nonlocal factor
        factor = value

    return function, change


def never_set():
    def function(x):
        if x > 1e9:
            return unset
        return x

    if COUNT[0]:
        unset = 1
    return function


def counter():
    count = 0

    def function(x):
        nonlocal count
        count += 1
        return count * x

    return function


def nested(x):
    def inner(y, z=2):
        return [y * z * n for n in range(3) if (m := n) or m == 0]

    class Local:
        value = 3

        def get(self):
            return self.value

    return inner(x), (lambda t: t + Local().get())(x), {"a": x, "b": [x]}


def generating(x):
    yield x
    yield from (x * n for n in (2, 3))


def annotated(x: "np.ndarray", *, y: "no_such_name" = 1) -> "float":  # type: ignore[name-defined]  # noqa: F821
    z: int = 3
    return x * y * z


def recursive(n):
    return 1 if n < 2 else n * recursive(n - 1)


def recursive_closure():
    def function(n):
        return 1 if n < 2 else function(n - 1) * n

    return function


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


@np.vectorize
def vectorized(number):
    return 6 * number + 1


def helped(x):
    return helper(x) + OTHER_HELPERS["one"](x)


def helper(x):
    return 2 * x


OTHER_HELPERS = {"one": helper}


class Base:
    def __init__(self, scale=2.0):
        self.scale, self.seen = scale, []
        self.__hidden = 7.0

    def method(self, x, power=2):
        self.seen.append(x)
        return self.scale * x**power + self.helper(x) + self.__secret(x)

    def helper(self, x):
        return x

    def __secret(self, x):
        return self.__hidden * x

    def tower(self, n):
        return 0 if n == 0 else self.tower(n - 1) + self.scale

    def class_by_name(self, x):
        return Base.static(x) + isinstance(self, Base)

    @staticmethod
    def static(x):
        return 5 * x

    @classmethod
    def of_class(cls, x):
        return cls.static(x)

    def __call__(self, x):
        return self.helper(x) + 1


class Below(Base):
    def method(self, x, power=2):
        return super().method(x, power) + __class__.static(x)


def logged(function):
    @functools.wraps(function)
    def call(*arguments, **named):
        return function(*arguments, **named)

    return call


@logged
@logged
def decorated(x):
    return 7 * x


@functools.lru_cache
def cached(x):
    return 8 * x


@numba.njit
def compiled(x):
    return 9 * x


two = [lambda x: x + 1, lambda x: x + 2]
in_another = lambda x: (lambda y: y * 2)(x) + 1  # noqa: E731
defaults = {"power": lambda x, power=3: x**power}
base, below = Base(), Below(3.0)

SAME = {
    "plain": (plain, ((3.0,), (3.0, 4.0), (3.0, 4.0, 5.0))),
    "global data": (helped, ((3.0,),)),
    "nested": (nested, ((3.0,),)),
    "generator": (lambda x: list(generating(x)), ((3.0,),)),
    "annotations": (annotated, ((3.0,),)),
    "recursive": (recursive, ((5,),)),
    "method": (base.method, ((3.0,), (3.0, 3))),
    "child's method": (below.method, ((3.0,),)),
    "class by its name": (base.class_by_name, ((3.0,),)),
    "static": (Base.static, ((3.0,),)),
    "of a class": (Base.of_class, ((3.0,),)),
    "object": (base, ((3.0,),)),
    "plain function of a class": (functools.partial(Base.method, base), ((3.0,),)),
    "partial": (functools.partial(plain, 2.0, shift=5.0), ((), (3.0,))),
    "partial of a partial": (functools.partial(functools.partial(plain, 2.0), 3.0), ((), (4.0,))),
    "decorated twice": (decorated, ((3.0,),)),
    "cached": (cached, ((3.0,),)),
    "compiled": (compiled, ((3.0,),)),
    "first lambda": (two[0], ((3.0,),)),
    "second lambda": (two[1], ((3.0,),)),
    "lambda around another": (in_another, ((3.0,),)),
    "lambda with a default": (defaults["power"], ((3.0,), (3.0, 2))),
    "closure": (later()[0], ((3.0,),)),
    "closure with nothing in it": (never_set(), ((3.0,),)),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_function(name):
    function, calls = SAME[name]
    for root in (Program(function).root, Program(function).edited(Program(function).text).root):
        for arguments in calls:
            assert root(*arguments) == function(*arguments)


def test_it_looks_the_same():
    root = Program(plain).root
    assert (root.__name__, root.__qualname__, root.__doc__) == ("plain", "plain", "What it does.")
    assert root(1.0, 2.0, 3.0, shift=4.0, other=5.0) == plain(1.0, 2.0, 3.0, shift=4.0, other=5.0)
    with pytest.raises(TypeError):
        root(x=3.0)
    assert Program(base.method).root.__self__.__class__.__name__ == "Base"
    assert root.__code__.co_filename == plain.__code__.co_filename
    assert root.__code__.co_firstlineno == plain.__code__.co_firstlineno


def test_errors_have_the_readers_line():
    def fails(x):
        y = x
        return y / 0

    with pytest.raises(ZeroDivisionError) as caught:
        Program(fails).root(1)
    assert caught.traceback[-1].lineno + 1 == fails.__code__.co_firstlineno + 2


def test_globals_and_cells_are_its_own():
    before = OTHER
    root = Program(with_global).root
    assert root(1.0) == SCALE + before + 1 and root(1.0) == SCALE + before + 2 and before == OTHER
    count = counter()
    assert [count(1), count(1)] == [1, 2]
    root = Program(count).root
    assert [root(1), root(1), count(1)] == [3, 4, 3]


def test_a_cell_that_is_set_later():
    function, change = later()
    program = Program(function)
    change(5.0)
    assert function(1.0) == 5.0 and Program(function).root(1.0) == 5.0
    assert program.edited(program.text).root(1.0) in (4.0, 5.0)


def other(program, old, new):
    assert old in program.text
    return program.edited(program.text.replace(old, new))


def test_an_edit_is_of_the_copy_alone():
    program = Program(helped)
    assert [unit.name for unit in program.units] == ["helped", "helper"]
    edited = other(program, "def helper(x):\n    return 2 * x", "def helper(x):\n    return 3 * x")
    assert edited.root(1.0) == 5.0  # the one in the dict is as it was
    assert program.root(1.0) == helped(1.0) == 4.0 and helper(1.0) == 2.0
    again = other(edited, "return helper(x) + OTHER", "return -helper(x) + OTHER")
    assert (again.root(1.0), edited.root(1.0), program.root(1.0)) == (-1.0, 5.0, 4.0)


def test_an_edit_of_a_method_that_is_called():
    program = Program(base.method)
    edited = other(program, "    def helper(self, x):\n        return x", "    def helper(self, x):\n        return -x")
    assert edited.root(3.0) == base.method(3.0) - 6.0
    assert Base.helper(base, 3.0) == base.helper(3.0) == 3.0 and type(base) is Base
    edited = other(program, "return self.__hidden * x", "return 2 * self.__hidden * x")
    assert edited.root(3.0) == base.method(3.0) + 21.0


def test_an_edit_of_a_recursive_function_is_of_every_call():
    edited = other(Program(recursive), "1 if n < 2 else n * rec", "1 if n < 2 else 2 * n * rec")
    assert recursive(4) == 24
    assert edited.root(4) == 24 * 8
    program = Program(recursive)
    node = edited.units[0].node
    assert program.having(0, program.build(0, node))(4) == 24 * 8
    program.restore(0)
    assert program.root(4) == 24 and recursive(4) == 24


def test_functions_that_call_each_other():
    edited = other(Program(even), "return n == 0 or odd(n - 1)", "return n == 1 or odd(n - 1)")
    assert [even(3), even(4)] == [False, True] and edited.root(3) is True  # by the call inside of odd
    edited = other(Program(even), "return n != 0 and even(n - 1)", "return n == 0 or even(n - 1)")
    assert edited.root(1) is True and edited.root(3) is True


def test_an_edit_of_a_recursive_closure():
    function = recursive_closure()
    assert Program(function).root(4) == function(4) == 24
    edited = other(Program(function), "1 if n < 2 else function(n - 1) * n", "1 if n < 2 else function(n - 1) * n * 2")
    assert edited.root(4) == 24 * 8 and function(4) == 24


def test_an_edit_of_a_recursive_method():
    program = Program(base.tower)
    assert program.root(3) == base.tower(3) == 6.0
    edited = other(program, "self.tower(n - 1) + self.scale", "self.tower(n - 1) - self.scale")
    assert edited.root(3) == -6.0 and base.tower(3) == 6.0


def test_an_edit_of_a_vectorized_function():
    edited = other(Program(vectorized), "6 * number + 1", "5 * number + 1")
    assert edited.root([1, 2]).tolist() == [6, 11] and vectorized([1, 2]).tolist() == [7, 13]


def test_each_lambda_of_a_line():
    edited = other(Program(two[1]), "lambda x: x + 2]", "lambda x: x - 2]")
    assert edited.root(1) == -1 and two[1](1) == 3
    edited = other(Program(two[0]), "lambda x: x + 2]", "lambda x: x - 2]")
    assert edited.root(1) == two[0](1) == 2


def test_what_is_held_fixed_is_no_unit():
    def loss(x):
        return helper(x)

    assert [unit.name for unit in Program(helped, [loss]).units] == ["helped"]
    assert [unit.name for unit in Program(helped, [len, np.sin]).units] == ["helped", "helper"]
    assert [unit.name for unit in Program(helped, [helped]).units] == ["helped"]


def test_a_changed_build_stands_in_until_it_is_restored():
    program = Program(helped)
    edited = other(program, "def helper(x):\n    return 2 * x", "def helper(x):\n    return 3 * x")
    for number, at_one in ((0, 4.0), (1, 5.0)):
        built = program.build(number, edited.units[number].node)
        assert program.having(number, built)(1.0) == at_one
        program.restore(number)
        assert program.root(1.0) == 4.0


@pytest.mark.parametrize("function", [np.sin, math.sin, len, functools.partial(np.add, 1), np.vectorize(math.sin), int])
def test_no_source(function):
    with pytest.raises(Unread, match="cannot be read"):
        Program(function)


def test_texts_that_are_no_edit():
    program = Program(plain)
    for text, match in (("def plain(:", "cannot be parsed"), ("x = 1", "other functions")):
        with pytest.raises(Unread, match=match):
            program.edited(text)


def test_names_of_data():
    assert Program(with_global).data_names() == ["OTHER", "SCALE"]
    assert Program(plain, [with_global]).data_names() == ["OTHER", "SCALE"]
    assert Program(plain).file == "test_mend_program.py"
