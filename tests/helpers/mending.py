"""What a mend is held against: differences of the loss, which know nothing of the search; and the file's own text."""

import inspect
import io
import re

import numpy as np

__all__ = ["differences", "flat", "patched", "place_like", "right_everywhere", "texts_fit"]


def flat(x):
    """The arrays of a place: of an array, a tuple, a named tuple or a dict, in their order."""
    if isinstance(x, dict):
        return [array for value in x.values() for array in flat(value)]
    if isinstance(x, (tuple, list)):
        return [array for value in x for array in flat(value)]
    return [np.asarray(x, float)]


def like(x, arrays):
    """The arrays in the form of x; takes them from an iterator."""
    if isinstance(x, dict):
        return {key: like(value, arrays) for key, value in x.items()}
    if hasattr(x, "_fields"):
        return type(x)(*(like(value, arrays) for value in x))
    if isinstance(x, (tuple, list)):
        return type(x)(like(value, arrays) for value in x)
    return next(arrays)


def place_like(x, rng):
    """Another place: what is positive stays so."""

    def moved(array):
        if (array > 0).all():
            return array * np.exp(0.3 * rng.standard_normal(array.shape))
        return array * 0.3 + rng.standard_normal(array.shape)

    return like(x, iter([moved(array) for array in flat(x)]))


def called(function, x):
    """Several arguments are given one by one, a dict or a named tuple as one."""
    return function(*x) if type(x) in (tuple, list) else function(x)


def differences(loss, x):
    """The gradient by differences of the loss, right to about ten digits."""
    arrays = [array.copy() for array in flat(x)]
    h, found = 2e-3, []
    for array in arrays:
        slope = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            kept, values = array[index], []
            for step in (1, -1, 2, -2, 3, -3):
                array[index] = kept + step * h
                values.append(float(called(loss, like(x, iter(arrays)))))
            array[index] = kept
            a, b, c, d, e, f = values
            slope[index] = (45 * (a - b) - 9 * (c - d) + (e - f)) / (60 * h)
        found.append(slope)
    return found


def right_everywhere(loss, gradient, x, places=20):
    """The gradient is the loss's at random places, to eight digits."""
    rng = np.random.default_rng(7)
    for _ in range(places):
        place = place_like(x, rng)
        called(loss, place)  # a gradient may use what the loss has stored
        given = flat(called(gradient, place))
        for mine, theirs in zip(given, differences(loss, place), strict=True):
            assert mine.shape == theirs.shape
            assert np.allclose(mine, theirs, rtol=1e-7, atol=1e-8 * max(1.0, abs(theirs).max(initial=0.0)))


def patched(text, diff):
    """A text after a unified diff."""
    lines, made, at = io.StringIO(text, newline="\n").readlines(), [], 0
    words = iter(io.StringIO(diff, newline="\n"))
    assert next(words).startswith("---") and next(words).startswith("+++")
    for line in words:
        if header := re.match(r"@@ -(\d+)(?:,(\d+))? ", line):
            first = int(header[1]) - (header[2] != "0")
            made += lines[at:first]
            at = first
        elif line[0] == "+":
            made.append(line[1:])
        else:
            assert line[1:] == lines[at], "the diff is of another text"
            at += 1
            made += [line[1:]] if line[0] == " " else []
    return "".join(made + lines[at:])


def texts_fit(repair, function):
    """Line, before, after, diff and text of a repair are of the file, and are one edit; the text is a program."""
    text = _file_of(function)
    assert repair.text != text
    assert patched(text, repair.diff) == repair.text
    compile(repair.text, "repaired", "exec", dont_inherit=True)
    before, after = text.split("\n"), repair.text.split("\n")
    assert list(repair.changes) == sorted(repair.changes, key=lambda change: change.line)
    assert 1 <= len(repair.changes) <= 6
    for change in repair.changes:
        here = " ".join(" ".join(before[change.line - 1 :][:12]).split())
        there = " ".join(" ".join(after[change.line - 1 :][:12]).split())
        assert change.before in here and change.after in there
        assert change.before != change.after
    first = repair.to_dict()
    assert (first["line"], first["before"], first["after"]) == (
        repair.changes[0].line,
        repair.changes[0].before,
        repair.changes[0].after,
    )
    assert first["diff"] == repair.diff and change.file == inspect.getsourcefile(function).rpartition("/")[2]


def _file_of(function):
    while hasattr(function, "__wrapped__") or hasattr(function, "func"):
        function = getattr(function, "__wrapped__", None) or function.func
    with open(inspect.getsourcefile(function), newline="") as file:
        return file.read()
