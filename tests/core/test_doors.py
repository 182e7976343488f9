"""What nobody should give is refused at the door, in the library's own words; what is accepted has its right result."""

import dataclasses
import itertools
import random
import warnings

import numpy as np
import pytest
from calls import CALLS
from hostile_values import INDICES, VALUES, hostile_forms, same_forms

from nlicl.core.errors import InvalidInput
from nlicl.training import Diverged

# Arguments that are called: what they raise is the caller's own. `assert_gradient` fails as its name says.
CALLED = {"progress", "observe", "until", "schedule", "move", "loss", "gradient", "interpolant"}
MESSAGE = 700  # characters at most


def hostile(name, argument, value):
    """Names of hostile values and functions that make them, for one argument of a right call."""
    yield from VALUES.items()
    if argument == "index":
        yield from INDICES.items()
    for form, made in hostile_forms(value):
        yield f"{argument} as {form}", lambda made=made: made


def check(name, argument, label, value):
    """Call with one argument replaced: nothing but the library's own refusals, and no warning."""
    function, arguments = CALLS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            function(**arguments | {argument: value})
        except InvalidInput as error:
            assert len(str(error)) < MESSAGE, f"{name}({argument}={label}): {len(str(error))} characters"
        except (Diverged, AssertionError, OSError, ImportError):
            pass
        except Exception as error:
            if argument not in CALLED:
                raise AssertionError(f"{name}({argument}={label}): {type(error).__name__}: {error}") from error


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """A text may be taken for the name of a file to write."""
    monkeypatch.chdir(tmp_path)


def run(each):
    """So many hostile values of every argument of every call, the same ones every time."""
    for name, call in CALLS.items():
        for argument, value in call.arguments.items():
            values = list(hostile(name, argument, value))
            for label, make in random.Random(f"{name} {argument}").sample(values, min(each, len(values))):
                check(name, argument, label, make())


def test_a_few_hostile_values_of_every_argument():
    run(2)


@pytest.mark.slow
def test_many_hostile_values_of_every_argument():
    run(12)


@pytest.mark.parametrize("label", ["timedelta64", "masked", "Unwilling", "array of timedelta", "10**5000"])
def test_values_that_once_came_through(label):
    for name in (name for name in CALLS if "train" not in name and "audit" not in name):
        for argument in itertools.islice(CALLS[name].arguments, 2):
            check(name, argument, label, VALUES[label]())


# ---- What is accepted is right


def leaves(value):
    """The arrays and numbers in a result."""
    if isinstance(value, (np.ndarray, np.generic, int, float, complex, str, type(None))):
        return [value]
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    if isinstance(value, (list, tuple)):
        return [leaf for each in value for leaf in leaves(each)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [leaf for field in dataclasses.fields(value) for leaf in leaves(getattr(value, field.name))]
    return []


def test_other_forms_of_a_right_value_give_its_result_or_are_refused():
    for name, (function, arguments) in CALLS.items():
        if "train" in name or "audit" in name or "Prompt.__init__" in name:
            continue
        expected = leaves(function(**arguments))
        for argument, value in arguments.items():
            for form, made in random.Random(f"{name} {argument}").sample(
                found := list(same_forms(value)), min(2, len(found))
            ):
                try:
                    result = leaves(function(**arguments | {argument: made}))
                except InvalidInput:
                    continue
                assert len(result) == len(expected), f"{name}({argument} as {form})"
                for one, other in zip(result, expected, strict=True):
                    if isinstance(other, (str, type(None))):
                        assert one == other, f"{name}({argument} as {form})"
                    else:
                        message = f"{name}({argument} as {form})"
                        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14, err_msg=message)
