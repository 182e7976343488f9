"""Hypothesis profiles and what all test modules share.

No deadline: the first example of a test may compile a kernel, which takes seconds. In continuous integration the
examples are derived from the test's name, so that a red run can be repeated; at home they are fresh every time.
NLICL_TEST_EXAMPLES says how many there are, 40 if it does not. NLICL_TEST_EVERY=4 runs one test in four of every file, the
first one and every fourth after it: for another try at what all tests were run on, with other versions.
"""

import os

import numba
import pytest
from hypothesis import HealthCheck, settings

_plain_python = bool(numba.config.DISABLE_JIT)
settings.register_profile(
    "nlicl",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=int(os.environ.get("NLICL_TEST_EXAMPLES", 12 if _plain_python else 40)),
    suppress_health_check=[HealthCheck.too_slow],  # the same first compilation
)
settings.load_profile("nlicl")


def pytest_collection_modifyitems(config, items):
    if (every := int(os.environ.get("NLICL_TEST_EVERY", 1))) > 1:
        files = {}
        for item in items:
            files.setdefault(item.path, []).append(item)
        kept = {item for of_file in files.values() for item in of_file[::every]}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    if _plain_python:
        skip = pytest.mark.skip(reason="the JIT is off: there is no compiled code to look at")
        for item in items:
            if "compiled" in item.keywords:
                item.add_marker(skip)
    for_gpu = [item for item in items if item.get_closest_marker("cuda")]
    if for_gpu and (why := _no_gpu()):
        for item in for_gpu:
            item.add_marker(pytest.mark.skip(reason=why))


def _no_gpu():
    """Why there is no real GPU here; None if there is one."""
    from nlicl import devices

    found = devices.unavailable()
    if found is None and devices.kernels().SIMULATED:
        return "the simulator is no GPU"
    return found and found[0]


@pytest.fixture(autouse=True)
def no_search_by_surprise(request, monkeypatch):
    """A report that is printed searches for mends, for seconds: in tests only where `mend=` or the mark `mends` asks."""
    if not request.node.get_closest_marker("mends"):
        from nlicl.audit.mend import found

        monkeypatch.setattr(found, "DEFAULT_SECONDS", 0.0)


@pytest.fixture
def run(capsys):
    """run(*arguments) -> (exit status, standard output, standard error), without a new process."""
    from nlicl.cli import main

    def call(*arguments):
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return call
