r"""TeX as MathML, and texts with TeX between dollars as HTML.

TeX comes from readers. A package turns it into MathML, and nothing of what the package returns is trusted: it is parsed, and
written anew from elements and attributes on a list. Whatever fails is shown as its source text.
"""

import html
import re
from collections.abc import Iterator
from xml.etree import ElementTree

from ...core.text import visible
from .plain import to_tex

__all__ = ["as_html", "display", "equation", "has_tex", "inline", "prose"]

LONGEST = 4000  # characters of TeX that are typeset
DEEPEST = 40  # elements inside one another
LONG = 5  # elements in a row after which a line may end before a bracket, too
_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
_ELEMENTS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msub", "msup", "msubsup", "munder", "mover", "munderover", "mfrac",
    "msqrt", "mroot", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom",
}  # fmt: skip
_ATTRIBUTES = {
    "accent": "true|false",
    "columnalign": r"(left|right|center| )+",
    "displaystyle": "true|false",
    "fence": "true|false",
    "form": "infix|prefix|postfix",
    "linethickness": r"\d+(\.\d+)?(em|ex|px)?",
    "lspace": r"-?\d{1,2}(\.\d+)?em",
    "mathvariant": "normal|bold",
    "maxsize": r"\d{1,2}(\.\d+)?em",
    "minsize": r"\d{1,2}(\.\d+)?em",
    "movablelimits": "true|false",
    "rspace": r"-?\d{1,2}(\.\d+)?em",
    "scriptlevel": r"[+-]?\d",
    "separator": "true|false",
    "stretchy": "true|false",
    "width": r"\d{1,2}(\.\d+)?em",
}
_LEAVES = {"mi", "mn", "mo", "mtext", "mspace"}
_PARTS = {"msub": 2, "msup": 2, "munder": 2, "mover": 2, "mfrac": 2, "mroot": 2, "msubsup": 3, "munderover": 3}
_BREAK_BEFORE = set("=≤≥≠<>≈∝≔→⇒+−-∑∏∫")  # where a long formula may go on in a new line
_OPENING, _CLOSING = set("([{⟨"), set(")]}⟩")
_FENCES = set("⟨⟩")
_DOLLARS = re.compile(r"\$\$(?P<display>.+?)\$\$|(?<![\\$])\$(?P<inline>[^$\n]*(?:\n[^$\n]+)*?)(?<!\\)\$", re.DOTALL)
_DIGIT_AFTER = re.compile(r"\d")


class _Refused(Exception):
    """What is no MathML that a page takes."""


def as_html(text: str) -> str:
    """A text as HTML: it is no markup, and what cannot be seen, or turns other text round, is shown as its escape."""
    return html.escape(visible(text))


def inline(tex: str) -> str:
    """TeX as part of a sentence: HTML, which is the escaped source where it cannot be typeset."""
    tree = _tree(tex)
    return _source(tex) if tree is None else f"<math>{''.join(map(_written, tree))}</math>"


def display(tex: str) -> str:
    """TeX as a line of its own, which goes on in further lines where it is too long: HTML, as `inline`."""
    tree = _tree(tex)
    if tree is None:
        return f'<div class="math">{_source(tex)}</div>'
    clauses = (f"<span>{'<wbr>'.join(map(_math, clause))}</span>" for clause in _clauses(tree))
    return f'<div class="math">{" ".join(clauses)}</div>'


def _math(piece: list[str]) -> str:
    return f'<math displaystyle="true">{"".join(piece)}</math>'


def equation(text: str) -> str:
    """An equation in the plain notation of registered formulas, typeset; any other text as a paragraph."""
    tex = to_tex(visible(text))
    return display(tex) if tex and _tree(tex) is not None else f"<p>{as_html(text)}</p>"


def has_tex(text: str) -> bool:
    """Whether there is TeX between dollars in a text."""
    return any(_is_math(match) for match in _DOLLARS.finditer(text))


def prose(text: str) -> str:
    """A text whose TeX between dollars is typeset: HTML, paragraphs apart at blank lines."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        parts += _paragraph(block)
    return "".join(parts)


def _paragraph(block: str) -> Iterator[str]:
    """The paragraphs and displays of a block of text."""
    line, place = "", 0
    for match in _DOLLARS.finditer(block):
        if not _is_math(match):
            continue
        line += as_html(block[place : match.start()])
        place = match.end()
        if match["display"] is None:
            line += inline(match["inline"])
            continue
        if line.strip():
            yield f"<p>{line.strip()}</p>"
        line = ""
        yield display(match["display"])
    line += as_html(block[place:])
    if line.strip():
        yield f"<p>{line.strip()}</p>"


def _is_math(match: re.Match[str]) -> bool:
    """Whether dollars enclose TeX. As in pandoc, it touches both of them, and no digit comes after: $5 and $6 are prices."""
    if match["display"] is not None:
        return bool(match["display"].strip())
    tex = match["inline"]
    after = match.string[match.end() : match.end() + 1]
    return bool(tex) and not tex[0].isspace() and not tex[-1].isspace() and not _DIGIT_AFTER.match(after)


def _source(tex: str) -> str:
    return f"<code>{as_html(tex.strip())}</code>"


def _tree(tex: str) -> list[ElementTree.Element] | None:
    """The top elements of a formula, checked; None where there is nothing to be typeset."""
    if not tex.strip() or len(tex) > LONGEST or visible(tex) != tex:
        return None
    try:
        from latex2mathml.converter import convert

        root = ElementTree.fromstring(convert(" ".join(tex.split())))
        _check(root)
    except Exception:  # of a package and of XML, on a reader's text: whatever it is, the source is shown
        return None
    found = list(root)
    while len(found) == 1 and _name(found[0]) == "mrow" and not found[0].attrib:
        found = list(found[0])
    return found or None


def _name(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(_NAMESPACE)


def _check(element: ElementTree.Element, depth: int = 0) -> None:
    """_Refused unless all is MathML of a kind that is written, and no command of TeX is left over."""
    if _name(element) not in _ELEMENTS or depth > DEEPEST:
        raise _Refused
    if "href" in element.attrib or "\\" in (element.text or "") or (element.tail or "").strip():
        raise _Refused
    if len(element) != _PARTS.get(_name(element), len(element)) or (_name(element) in _LEAVES and len(element)):
        raise _Refused
    for child in element:
        _check(child, depth + 1)


def _written(element: ElementTree.Element) -> str:
    """An element written anew."""
    name, children = _name(element), list(element)
    text = as_html(element.text or "")
    letters = [child.text or "" for child in children]
    if name == "mrow" and len(letters) > 1 and all(map(_is_upright, children)):  # of \mathrm{attn}
        return f"<mi>{as_html(''.join(letters))}</mi>"
    if name == "mo" and text.isalpha() and text.isascii():  # of \operatorname{softmax}
        return f"<mi>{text}</mi>"
    given = {key: value for key, value in element.attrib.items() if re.fullmatch(_ATTRIBUTES.get(key, "(?!)"), value)}
    if name == "mi" and text in _FENCES:
        name, given = "mo", {"stretchy": "false"}
    elif name == "mo" and text == "-":
        text = "−"
    if name == "mo" and text in _BREAK_BEFORE and "form" not in given and text not in "∑∏∫":
        given["form"] = "infix"
    attributes = "".join(f' {key}="{value}"' for key, value in given.items())
    return f"<{name}{attributes}>{text}{''.join(map(_written, children))}</{name}>"


def _is_upright(element: ElementTree.Element) -> bool:
    return _name(element) == "mi" and element.get("mathvariant") == "normal" and len(element.text or "") == 1


def _clauses(tree: list[ElementTree.Element]) -> Iterator[list[list[str]]]:
    """A formula cut where a line may end: after a comma outside of brackets, and, if need be, before sums and relations."""
    clause: list[list[str]] = [[]]
    last, depth = "", 0
    for element in tree:
        sign = _sign(element)
        apart = sign in _BREAK_BEFORE and last not in _BREAK_BEFORE and last not in _OPENING
        if clause[-1] and (apart or (len(clause[-1]) >= LONG and sign in _OPENING)):
            clause.append([])
        written = _written(element)
        if sign in ("+", "-", "−") and (last in _BREAK_BEFORE or last in _OPENING or last in ("", ",")):
            written = written.replace('form="infix"', 'form="prefix"')
        clause[-1].append(written)
        last = sign
        depth += (sign in _OPENING) - (sign in _CLOSING)
        if sign in (",", ";") and depth <= 0:
            yield clause
            clause = [[]]
    if clause[-1]:
        yield clause


def _sign(element: ElementTree.Element) -> str:
    """The operator that an element is, or is built on; empty for a letter."""
    while len(element) and _name(element) in ("msub", "msup", "msubsup", "munder", "mover", "munderover"):
        element = element[0]
    text = element.text or ""
    return text if _name(element) == "mo" or text in _FENCES else "x"
