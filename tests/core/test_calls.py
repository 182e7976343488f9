"""The table of right calls names everything public, and every call in it is right."""

import warnings

import pytest
from calls import CALLS, EXCEPTIONS, public


def _is_excepted(name):
    return any(name == each or name.startswith(f"{each}.") for each in EXCEPTIONS)


def test_every_public_function_has_a_call_or_a_reason():
    lacking = [name for name in public() if name not in CALLS and not _is_excepted(name)]
    assert not lacking


def test_no_reason_stands_for_nothing():
    names = list(public())
    stale = [each for each in EXCEPTIONS if not any(name == each or name.startswith(f"{each}.") for name in names)]
    assert not stale


def test_every_call_is_right():
    for name, call in CALLS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                call.function(**call.arguments)
            except ImportError as error:
                if "scikit-learn" not in str(error):
                    raise
            except Exception as error:
                pytest.fail(f"{name}: {type(error).__name__}: {error}")
