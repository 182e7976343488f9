"""Values and types in a few words."""

import numpy as np

import nlicl
from nlicl.core.describe import kind_of, name_of, short
from nlicl.models.transformer import prompts


def test_short_values_are_themselves():
    for value in (1, -2.5, "abc", None, (1, 2), [1, "a"], True):
        assert short(value) == repr(value)
    assert short(np.float64(0.5)) == "0.5" and short(np.int8(3)) == "3" and short(np.True_) == "True"


def test_long_values_are_named():
    assert short("x" * 81) == repr("x" * 60) + "... (81 characters)"
    assert short(list(range(100))) == "a list"
    assert short(np.zeros((3, 3))) == "a ndarray"  # several lines
    assert short(10**400) == "10**400" and short(-(10**6000) - 1) == "-10**6000 or so"
    assert short([16**5000]) == "a list"
    nested = []
    for _ in range(10_000):
        nested = [nested]
    assert short(nested) == "a list"


def test_what_cannot_be_printed_is_escaped():
    assert short("\udcff") == r"'\udcff'" and short("a\nb") == r"'a\nb'"


def test_types_are_named_as_a_reader_imports_them():
    assert name_of(prompts.Params) == "nlicl.Params" == kind_of(nlicl.Params(*range(5)))
    assert name_of(dict) == "dict" and kind_of(np.zeros(1)) == "ndarray"


class Nameless(type):
    """Its types answer anything when they are asked for their names."""

    @property
    def __name__(cls):
        return 5

    @property
    def __module__(cls):
        raise SystemExit(3)


class OfNoName(metaclass=Nameless):
    def __repr__(self):
        return 5


def test_types_and_values_that_do_not_say_what_they_are():
    assert name_of(OfNoName) == "OfNoName" and short(OfNoName()) == "a OfNoName"


def test_short_values_can_be_seen():
    class Turned:
        def __repr__(self):
            return "<\u202e\x1b[31m>"

    assert short(Turned()) == r"<\u202e\x1b[31m>"
