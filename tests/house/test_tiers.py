"""The order of the tests: what they are marked with, what they import, and who runs them."""

import ast
import re
import tomllib

import pytest
from child import ROOT
from trees import nodes_of

TESTS = ROOT / "tests"
CI = ROOT / ".ci" / "run"
if not CI.exists():
    pytest.skip("installed: the tests lie outside of a checkout", allow_module_level=True)
FILES = {path.relative_to(TESTS).as_posix(): path for path in sorted(TESTS.rglob("test_*.py"))}
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
OF_PYTEST = {"filterwarnings", "parametrize", "skip", "skipif"}


def marks_of(path):
    """The names after `pytest.mark.`."""
    return re.findall(r"\bpytest\.mark\.(\w+)", path.read_text(encoding="utf-8"))


def imports_of(path):
    """The first parts of all that a file imports."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a test has no package to import from"
            yield node.module.partition(".")[0]


def test_the_files_are_read():
    """The tests below would pass on an empty list."""
    assert {"house/test_tiers.py", "kernels/test_kernels.py", "docs/test_docs.py"} < set(FILES)
    assert {"compiled", "parametrize"} <= set(marks_of(FILES["kernels/test_kernels.py"]))
    assert {"numpy", "nlicl", "draws", "naive"} <= set(imports_of(FILES["kernels/test_kernels.py"]))


def test_markers_are_registered_and_used():
    assert "--strict-markers" in SETTINGS["addopts"]
    registered = {line.partition(":")[0] for line in SETTINGS["markers"]}
    used = {mark for path in FILES.values() for mark in marks_of(path)}
    assert used - OF_PYTEST == registered


@pytest.mark.parametrize("name", FILES)
def test_no_test_imports_another(name):
    """What two of them need lies in tests/helpers; so each file runs by itself, in any order."""
    others = {path.stem for path in FILES.values()} | {"conftest", "tests"}
    assert others.isdisjoint(imports_of(FILES[name]))


def test_file_names_are_unique():
    """Else a report that names only the file says nothing."""
    assert len({path.name for path in FILES.values()}) == len(FILES)


def test_every_room_is_a_rooms_name():
    rooms = {name.partition("/")[0] for name in FILES}
    assert rooms == {path.parent.name for path in FILES.values()}  # no deeper
    assert rooms >= {"kernels", "models", "audit", "papers", "training", "experiments", "cli", "docs", "bench", "house"}


def test_both_tiers_are_run():
    """`pytest` leaves slow tests out. .ci/run runs both tiers, whole: what a lane leaves out of the second, the other runs."""
    assert re.search(r"-m '?not slow'?", SETTINGS["addopts"])
    script = CI.read_text(encoding="utf-8")
    assert re.search(r"-m pytest$", script, re.MULTILINE)
    (left_out,) = re.findall(r"-m pytest -m slow((?: --ignore=\S+)+)$", script, re.MULTILINE)
    (run,) = re.findall(r"-m pytest -m slow((?: tests/\w+)+)$", script, re.MULTILINE)
    assert re.findall(r"--ignore=(\S+)", left_out) == run.split()
    lanes = re.findall(r"for name in ([\w\s\\]+); do step", script)
    assert [name for lane in lanes for name in lane.split() if "tier" in name] == [
        "second_tier",
        "rest_of_the_second_tier",
    ]
