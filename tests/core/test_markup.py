"""HTML and small pictures for a notebook: escaped, small, and never in the way."""

import base64
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest

from nlicl.core import markup

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>\u202e'


def pixels(drawn):
    """The numbers of the palette in a map, read back from its PNG."""
    data = base64.b64decode(re.search(r"base64,([^\"]+)", drawn)[1])
    assert data.startswith(b"\x89PNG")
    columns, rows = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT") + 4
    lines = np.frombuffer(zlib.decompress(data[start:-12]), np.uint8)
    return lines.reshape(rows, columns + 1)[:, 1:]


@pytest.mark.parametrize(
    "made",
    [
        markup.box(HOSTILE, HOSTILE),
        markup.note(HOSTILE),
        markup.details(HOSTILE, HOSTILE),
        markup.table([HOSTILE], [[HOSTILE]]),
        markup.join(HOSTILE),
        markup.curve([0, 1], [0, 1], HOSTILE, HOSTILE),
        markup.bars([1.0], [HOSTILE], HOSTILE, HOSTILE),
        markup.matrix(np.eye(2), HOSTILE),
        markup.arrays({HOSTILE: np.eye(2)}),
    ],
)
def test_a_text_is_no_markup(made):
    assert "script>alert" in made or "alert" in made or "..." in made
    assert "<script" not in made and "<img src=x" not in made and "\u202e" not in made


def test_markup_is_not_escaped_twice():
    assert markup.join(markup.note("a < b"), "c < d").count("&lt;") == 2


def test_pictures_are_well_formed():
    for drawn in (
        markup.curve(range(5), [1, 10, 100, 1000, 1e4], "step", "loss", ([1] * 5, [1e4] * 5), dots=True),
        markup.bars([0.1, 0.4], ["1", "2"], "token", "attention"),
        markup.spark([0, 1], [3, 4]),
    ):
        assert ElementTree.fromstring(drawn).tag == "svg"


def test_an_axis_is_logarithmic_where_that_helps():
    labels = [markup.curve([0, 1, 2], y, "x", "y").count("(log)") for y in ([1, 10, 100], [1, 2, 3], [0, 10, 100])]
    assert labels == [1, 0, 0]


def test_a_long_curve_has_few_points():
    drawn = markup.curve(np.arange(10**6), np.arange(10**6), "step", "loss")
    assert len(drawn) < 6000 and ">999999<" not in drawn and "1e+06" in drawn


@pytest.mark.parametrize("values", [[], [1.0], [np.nan, np.nan], [np.inf, 1.0]])
def test_nothing_to_draw_is_empty(values):
    assert markup.curve(range(len(values)), values, "x", "y") == markup.spark(range(len(values)), values) == ""
    assert markup.bars(-np.abs(values), ["1", "2"], "x", "y") == ""


@pytest.mark.parametrize("array", [None, 3, np.zeros((0, 3)), np.array(["a"]), np.eye(2, dtype=complex)])
def test_only_matrices_of_numbers_have_a_map(array):
    assert markup.matrix(array, "it") == ""


def test_a_map_has_signs_and_what_is_not_finite():
    found = pixels(markup.matrix(np.array([[-2.0, 0.0, 1.0], [2.0, np.nan, -1.0]]), "W"))
    assert found.tolist() == [[0, 32, 48], [64, 65, 16]]
    assert pixels(markup.matrix(np.zeros(3), "zeros")).tolist() == [[32, 32, 32]]


def test_a_large_map_shows_the_largest_entries():
    large = np.zeros((1000, 200))
    large[999, 0], large[0, 199] = -5, 3
    found = pixels(markup.matrix(large, "large"))
    assert found.shape == (48, 48) and found[-1, 0] == 0 and found[0, -1] == 32 + round(32 * 3 / 5)
    assert np.sum(found != 32) == 2


def test_a_long_table_counts_the_rest():
    assert "and 84 more" in markup.table(["a"], [[i] for i in range(100)])


def test_arrays_elsewhere_are_not_looked_into():
    class There:
        shape, dtype = (2, 3), "float32"

        def min(self):
            raise AssertionError

    made = markup.arrays({"there": There(), "number": 3, "bad": np.array([np.nan, 1])})
    assert "2 x 3" in made and "not finite" in made


def test_an_error_in_the_display_leaves_the_object():
    class Thing:
        @markup.safely
        def _repr_html_(self):
            raise ValueError

    assert Thing()._repr_html_() is None


def test_numbers():
    values = [0.123456, 7, True, "a", 10**5000]
    assert [markup.number(value) for value in values] == ["0.1235", "7", "True", "'a'", "10**5000"]
