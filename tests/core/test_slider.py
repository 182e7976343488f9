"""Several pictures as one, with a slider."""

import base64
import re
import sys

import pytest
from matplotlib.figure import Figure

import nlicl

HOSTILE = '"><script>alert(1)</script>'


def pictures(n):
    return [Figure((1, 1)) for _ in range(n)]


def frames(shown):
    return re.findall(r'<figure style="display:(\w+)', shown)


def test_every_picture_is_in_the_page_and_one_is_seen():
    found = nlicl.slider(pictures(3), [0.2, 1, "end"], name="alpha", first=-1)
    shown = found._repr_html_()
    assert frames(shown) == ["none", "none", "block"]
    data = re.findall(r"base64,([^\"]+)", shown)
    assert len(data) == 3 and all(base64.b64decode(each).startswith(b"\x89PNG") for each in data)
    assert 'max="2" value="2"' in shown
    assert found.labels == ["alpha = 0.2", "alpha = 1", "alpha = end"]
    assert repr(found) == "Slider(3 pictures: 'alpha = 0.2, alpha = 1, alpha = end')"


def test_a_label_is_no_markup():
    shown = nlicl.slider(pictures(1), [HOSTILE], name=HOSTILE)._repr_html_()
    assert "<script" not in shown and shown.count("&quot;&gt;&lt;script&gt;") == 4


def test_handlers_are_whole():
    """No quotation mark of a script ends the attribute that it stands in."""
    shown = nlicl.slider(pictures(1), [1])._repr_html_()
    assert re.search(r"oninput=\"[^\"]*block[^\"]*\" style", shown) and re.search(r"onclick=\"[^\"]*500\)\}\">", shown)


def test_figures_of_pyplot_are_closed():
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    figure = pyplot.figure(figsize=(1, 1))
    nlicl.slider([figure], [1])
    assert not pyplot.fignum_exists(figure.number)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pictures": []}, "pictures holds 0; expected 1 to 60"),
        ({"pictures": ["a"]}, "pictures holds a str; expected figures of matplotlib"),
        ({"pictures": 3}, "pictures is 3; expected a list"),
        ({"labels": [1, 2]}, "labels holds 2, pictures 1; expected a label for each picture"),
        ({"labels": "a"}, "labels is 'a'; expected a list"),
        ({"name": 3}, "name is 3; expected a text"),
        ({"first": 1}, "first is 1; expected at most 0"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        nlicl.slider(**{"pictures": pictures(1), "labels": [1]} | arguments)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    figure = Figure((1, 1))
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"nlicl.slider needs matplotlib, .*'.\[plot\]'"):
        nlicl.slider([figure], [1])
