"""A figure's JSON is read back as it was written, and nothing else is."""

import copy
import json

import pytest
from stored import figure, store

from nlicl.core.errors import InvalidValue
from nlicl.core.files import to_json
from nlicl.experiments.figure import FORMAT
from nlicl.experiments.stored import figure_of, read, without_curves


@pytest.fixture
def path(tmp_path):
    return store(tmp_path / "results", figure()) / "li2024-a.json"


def test_what_is_written_is_read(path):
    """Infinities and NaN, which stand as text, included."""
    data = read(path)
    assert to_json(figure_of(data).to_dict()) == path.read_text(encoding="utf-8")
    assert figure_of(data).comparisons == figure().comparisons
    asked = figure(original=None, options={"quick": True, "K": 5})
    assert figure_of(json.loads(to_json(asked.to_dict()))).options == {"quick": True, "K": 5}


def test_without_curves_all_else_stays(path):
    data = read(path)
    small = without_curves(data)
    assert small == {**data, "series": [], "reference": []} and data["series"]
    path.write_text(to_json(small), encoding="utf-8")
    assert repr(figure_of(read(path)).claims) == repr(figure_of(data).claims)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is damaged: it is no JSON"),
        (b'{"figure": "li2024-a", "form', "is damaged: it is no JSON"),
        (b"\xff\xfe", "is damaged: it is no JSON"),
        (b"[" * 100_000, "is damaged: it is no JSON"),
        (b"[1, 2]", "is no figure of nlicl reproduce"),
        (b'{"settings": {}}', "is no figure of nlicl reproduce"),
        (b'{"figure": 3}', "is no figure of nlicl reproduce"),
        (b'{"figure": "li2024-a"}', f"has format none; this nlicl reads {FORMAT}"),
        (b'{"figure": "li2024-a", "format": 99}', f"has format 99; this nlicl reads {FORMAT}"),
        (b'{"figure": "li2024-a", "format": true}', f"has format True; this nlicl reads {FORMAT}"),
        (b'{"figure": "li2024-a", "format": 1}', "is damaged: settings is missing"),
    ],
)
def test_other_files_are_refused(path, content, said):
    path.write_bytes(content)
    with pytest.raises(InvalidValue) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} {said}")


WRONG = [
    (("title",), 3),
    (("seeds",), [0, "1"]),
    (("seeds",), {}),
    (("notes",), [3]),
    (("options",), []),
    (("original",), "Figure 2"),
    (("original", "known"), None),
    (("settings",), []),
    (("settings", "l"), [20]),
    (("settings", "l"), [20, None]),
    (("claims",), {}),
    (("claims",), [3]),
    (("claims", 0, "holds"), "yes"),
    (("claims", 0, "about"), "weather"),
    (("claims", 0, "values"), [True]),
    (("claims", 0, "values"), [10**400]),
    (("claims", 0, "measured"), 3),
    (("comparisons", 0, "factor"), "large"),
    (("comparisons", 0, "median"), None),
    (("comparisons", 0, "points"), [[1, 2], [3]]),
    (("comparisons", 0, "points"), [[1, []]]),
    (("comparisons", 0, "points"), []),
    (("comparisons", 0, "series"), 3),
    (("series", 0, "x"), [0]),
    (("series", 0, "y"), "012"),
    (("reference", 0, "name"), 1),
]


@pytest.mark.parametrize(("place", "value"), WRONG)
def test_a_damaged_figure_is_refused_in_one_line(path, place, value):
    """Another value there, or nothing."""
    right = json.loads(path.read_text(encoding="utf-8"))
    for spoil in ("set", "delete"):
        data = copy.deepcopy(right)
        there = data
        for key in place[:-1]:
            there = there[key]
        if spoil == "set":
            there[place[-1]] = value
        elif isinstance(there, dict) and place not in (("original",), ("settings", "l")):
            del there[place[-1]]
        else:
            continue
        path.write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises(InvalidValue) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path} is damaged: ") and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidValue, match="cannot be read: No such file"):
        read(tmp_path / "none.json")
    with pytest.raises(InvalidValue, match="cannot be read: Is a directory"):
        read(tmp_path)
