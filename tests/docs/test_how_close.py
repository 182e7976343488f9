"""docs/how-close.md is what `nlicl compare docs/figures` writes, and the stored results are small."""

import pytest
from child import ROOT

from nlicl.experiments.distance import distances
from nlicl.experiments.stored import figure_of, read

PAGE = ROOT / "docs" / "how-close.md"
RESULTS = sorted((ROOT / "docs" / "figures").glob("*.json"))

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="installed: there are no pages")


def test_the_page_is_what_the_command_writes():
    expected = distances(figure_of(read(path)) for path in RESULTS)
    assert PAGE.read_text(encoding="utf-8") == expected, (
        "write it anew: nlicl compare docs/figures --out docs/how-close.md"
    )


def test_stored_results_are_small_and_bear_their_names():
    for path in RESULTS:
        data = read(path)
        assert path.name == f"{data['figure']}.json"
        assert path.stat().st_size < 200_000, (
            f"{path.name}: keep it without its curves, by nlicl compare DIR --keep docs/figures"
        )
        assert "quick" not in data["options"], f"{path.name} is of a quick run"
