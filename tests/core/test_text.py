"""Texts of others: what cannot be seen is shown, and what can be seen stays."""

import unicodedata

import pytest

from nlicl.core.text import message, one_line, visible


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\u202eb\u202c", r"a\u202eb\u202c"),
        ("\u2066x\u2069 \u200e\u200f\u061c", r"\u2066x\u2069 \u200e\u200f\u061c"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x00\x07\x08\r\x7f\x85\x9b", r"\x00\x07\x08\x0d\x7f\x85\x9b"),
        ("caf\udce9", r"caf\udce9"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("a\u200bb\u200dc\ufeff\xad\u3164", r"a\u200bb\u200dc\ufeff\xad\u3164"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_shown(given, shown):
    assert visible(given) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "αβγ ∂ ≤ ·",
        "e\u0301 n\u0303",
        "שלום مرحبا हिन्दी 中文",
        "👨\u200d👩\u200d👧 ☀\ufe0f 👍🏽",
        "lines\n\tand tabs",
        "\xa0\u3000",
    ],
)
def test_letters_of_any_language_stay(text):
    assert visible(text) == text


def test_every_control_and_format_character_is_shown():
    hidden = {c for c in map(chr, range(0x110000)) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {
        "\n",
        "\t",
    }
    assert len(hidden) > 2000 and not any(visible(c) == c for c in hidden)


def test_one_line():
    assert one_line("a\n  b \r\n c\td") == "a b c d"
    assert one_line("  a  b\x0b\u2028") == r"  a  b\x0b\u2028"  # blanks within a line, as of a table, stay


def test_a_message_that_cannot_be_read():
    class Odd(Exception):
        def __str__(self):
            raise SystemExit(3)

    class NoText(Exception):
        def __str__(self):
            return 5

    assert message(ValueError("x")) == "x"
    assert message(Odd()) == message(NoText()) == "its message cannot be read"
