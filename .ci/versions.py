"""Versions for .ci/run, read from pyproject.toml.

python .ci/versions.py lowest EXTRA ...   the lowest versions declared, for pip: of the dependencies and of these extras
python .ci/versions.py newest             fails unless the numba here is of the last minor release that is allowed
"""

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(*extras: str) -> list[str]:
    """`name>=1.2` becomes `name==1.2.*`: the first minor release, with what was mended in it since."""
    declared = [
        *PROJECT["dependencies"],
        *(line for extra in extras for line in PROJECT["optional-dependencies"][extra]),
    ]
    return [re.sub(r"^([\w-]+)>=(\d+\.\d+)(,.*)?$", r"\1==\2.*", line) for line in dict.fromkeys(declared)]


def newest() -> str:
    """A sentence on the numba that is installed; SystemExit if a later one is allowed."""
    (bound,) = (re.search(r"<0\.(\d+)$", line)[1] for line in PROJECT["dependencies"] if line.startswith("numba"))
    found = version("numba")
    if not found.startswith(f"0.{int(bound) - 1}."):
        sys.exit(
            f"numba {found} is installed, and pyproject.toml allows all before 0.{bound}: the last ones are untested."
        )
    return f"numba {found} is of the last minor release before 0.{bound}."


if __name__ == "__main__":
    task, *extras = sys.argv[1:]
    print("\n".join(lowest(*extras)) if task == "lowest" else newest())
