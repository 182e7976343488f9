"""A reader's function as text: built again among his names, alone and with the helpers that an edit may change."""

import numpy as np

import nlicl
from nlicl.audit.mend.program import Program
from nlicl.audit.mend.propose import propose
from nlicl.audit.mend.spelling import spelled
from nlicl.audit.mend.task import Task

RATE = 0.5
WIDTHS = np.array([1.0, 2.0, 3.0, 4.0])
TABLE = {}
HEARD = []


def halves(w):
    if len(w) == 1:
        return 3 * w
    return np.concatenate([halves(w[:1]), halves(w[1:])])


def slope(h):
    return 1 - h


def curve(z):
    return z * z


TABLE["curve"] = curve


def total(w):
    return np.sum(TABLE["curve"](w) ** 2)


def twice(w):
    return curve(w) * curve(w) / w


def ridge(w):
    return RATE * slope(w)


first = 1; alone = lambda w: w + w  # noqa: E702, E731  # fmt: skip


class Node:
    def __init_subclass__(cls, **given):
        HEARD.append(cls)

    def half(self, w):
        return w / 2

    def gradient(self, w):
        return self.half(w)

    def rows(self, w):
        return np.concatenate([w[:1] * 3, self.rows(w[1:])]) if len(w) else w


rows = Node().rows


class Slotted:
    __slots__ = ("rate",)

    def half(self, w):
        return w / self.rate

    def gradient(self, w):
        return self.half(w)


def energy(w):
    return np.sum((w * WIDTHS) ** 2) / RATE


def force(w):
    return 2 * w * WIDTHS**2


def spread(w):
    return np.sum((w * WIDTHS) ** 3) / np.sqrt(len(w))


def pull(w):
    return 3 * w**2 * WIDTHS**3


PUSH = np.array([0.5, -1.0, 2.0])


def three(w):
    return sum(PUSH @ w**k / k for k in (1, 2, 3))


def overwritten(w):
    total = np.zeros(3)
    for _ in range(3):
        total = total * w
        total = PUSH
    return total * 1.0


def edited(program, before, after):
    assert before in program.text
    return program.edited(program.text.replace(before, after, 1))


def test_a_function_that_calls_itself_is_another_one_at_every_call():
    w = np.arange(1.0, 4)
    mended = edited(Program(halves), "return 3 * w", "return 4 * w")
    assert np.array_equal(mended.root(w), 4 * w)
    assert np.array_equal(mended.released(Program(halves))(w), 4 * w)
    mended = edited(Program(rows), "w[:1] * 3", "w[:1] * 5")  # the file has a global of the method's name
    assert np.array_equal(mended.root(w), 5 * w)
    assert np.array_equal(rows(w), 3 * w)


def test_methods_of_an_object_with_slots_stay_as_they_are():
    slotted = Slotted()
    slotted.rate = 2.0
    program = Program(slotted.gradient)
    assert [unit.name for unit in program.units] == ["gradient"]
    assert program.root(6.0) == 3.0


def test_a_class_does_not_hear_of_the_one_that_stands_for_it():
    heard = list(HEARD)
    assert edited(Program(Node().gradient), "return w / 2", "return w / 4").root(8.0) == 2.0
    assert heard == HEARD


def test_a_function_that_shares_its_line_can_be_edited():
    program = Program(alone)
    body = program.units[0].node.body
    made = spelled(program.text, program.tree, [(body, body.left)])
    assert "first = 1; alone = lambda w: w  #" in made.text


def test_a_mended_function_sees_names_as_they_are_when_it_is_called(monkeypatch):
    for before, after, value in (
        ("RATE * slope", "2 * RATE * slope", 0.5),
        ("return 1 - h\n", "return 1 - h * h\n", 0.375),
    ):
        program = Program(ridge)
        mended = edited(program, before, after).released(program)
        assert mended(0.5) == value
        monkeypatch.setitem(globals(), "RATE", 5.0)
        assert mended(0.5) == 10 * value
        monkeypatch.undo()


def test_a_helper_that_the_loss_calls_by_another_way_is_not_changed():
    w = np.array([1.5, 2.0, 3.0])
    found = []
    task = Task(
        lambda f, place: [f(w)], [[4 * w**3]], [[1e-9 + 0 * w]], [[twice(w)]], ["w"], call_loss=lambda f, place: f(w)
    )
    calls = Program(twice, (total,))
    assert [unit.name for unit in calls.units] == ["twice", "curve"]
    said = propose(twice, (total,), task, lambda f, end: "there", 3.0, found.append)
    texts = [one["repair"]["text"] for one in found if "repair" in one]
    assert texts and "others" in said
    assert all("return z * z\n" in text for text in texts)
    mended = edited(calls, "return z * z\n", "return 2 * z * z\n")
    with mended.everywhere():
        assert total(w) == 4 * np.sum(w**4)
    assert total(w) == np.sum(w**4)


def test_a_number_that_is_another_by_chance_is_not_shown_or_said():
    x = np.array([0.3, -1.2, 0.7, 2.0])
    for loss, gradient in ((energy, force), (spread, pull)):
        for repair in nlicl.audit_gradient(loss, gradient, x, mend=4).repairs:
            named = all("RATE" in change.after or "len(" in change.after for change in repair.changes)
            assert named != repair.agrees.endswith("; not where numbers or sizes of the data are others")
    assert RATE == 0.5
    assert len(WIDTHS) == 4


def test_edits_that_write_into_data_change_nothing_for_others():
    x = np.array([0.3, -1.2, 0.7])
    before = PUSH.copy()
    report = nlicl.audit_gradient(three, overwritten, x, mend=4)
    assert [change.after for change in report.repairs[0].changes] == ["total += PUSH"]
    assert np.array_equal(PUSH, before)
    assert PUSH.flags.writeable
