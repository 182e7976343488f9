"""TeX and the plain notation of registered formulas, as MathML: all of it, and nothing but MathML."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlicl import papers
from nlicl.audit.report import tex
from nlicl.audit.report.docstring import described
from nlicl.audit.report.plain import to_tex
from nlicl.audit.report.tex import display, equation, has_tex, inline, prose

FORMULAS = [f for name in papers.names() for part in papers.load(name).subject.every for f in part.formulas.values()]
STATEMENTS = [part.statement for name in papers.names() for part in papers.load(name).subject.every]
# What stands for letters that are drawn another way: marks above letters, functions of TeX, Greek, sums.
DRAWN = {"yhat": "y^", "xh": "x^", "xt": "x~", "yb": "y¯", "tbar": "t¯", "phibar": "ϕ¯", "Mbar": "M¯"}


def tags(html):
    return set(re.findall(r"<\s*/?\s*([\w-]+)", html))


def letters(text):
    return sorted(re.findall(r"[A-Za-z0-9]", text))


def tree(html):
    return ElementTree.fromstring(f"<div>{html.replace('<wbr>', '')}</div>")


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.name)
def test_every_registered_formula_is_typeset_with_all_its_letters(formula):
    html = equation(formula.equation)
    assert html.startswith('<div class="math"><span><math'), formula.equation
    shown = "".join(tree(html).itertext())
    text = formula.equation
    for word, drawn in DRAWN.items():
        text = re.sub(rf"\b{word}(?![a-z])", drawn, text)
    text = re.sub(r"\b(sum|sqrt|partial)(?![a-z])", "", text)
    text = re.sub(r"\bd(xi)", "d", text)
    greek = "alpha|beta|gamma|delta|epsilon|eta|kappa|lambda|mu|nu|xi|pi|sigma|phi|chi|zeta|omega|Lambda"
    text = re.sub(rf"\b({greek})(?![a-z])", "", text)
    assert letters(shown) == letters(text)


def test_every_statement_of_a_paper_is_typeset():
    assert len(STATEMENTS) > 20
    for statement in STATEMENTS:
        assert statement is not None
        lines = [display(line) for line in (*statement.model, statement.loss)]
        lines += [inline(symbol) for symbol, _ in statement.symbols] + [prose(words) for _, words in statement.symbols]
        for html in [*lines, prose(statement.about)]:
            assert "<code>" not in html and "$" not in html and "\\" not in html, html
        assert all(words and words[0].isascii() for _, words in statement.symbols)


@pytest.mark.parametrize(
    "text",
    [
        "my own gradient, equation 7",
        "a_",
        "^T",
        "",
        "x § y",
        "<b>bold</b>",
        "<b>",
        "uses my_var and numpy_array here",
        "grad",
    ],
)
def test_prose_and_broken_formulas_stay_text(text):
    assert to_tex(text) == "" and equation(text).startswith("<p>")
    assert "<b>" not in equation(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum_{j<=N} q_j^2", r"\sum _{j \le  N} q _{j} ^{2}"),
        ("1[u_i > 0] W_O(i,.)^T", r"\mathbf{1}[u _{i} > 0] W _{O(i,\cdot )} ^{T}"),
        ("<r, v_j - l> e_{c*}", r"\langle  r , v _{j} - l \rangle  e _{c ^{*}}"),
        ("yhat = sqrt(2/pi)", r"\hat{y} = \sqrt{2 / \pi }"),
        ("A_tr", "A _{t r}"),
    ],
)
def test_the_plain_notation(text, expected):
    assert to_tex(text) == expected


HOSTILE = [
    r"\href{javascript:alert(1)}{x}",
    r"\style{background:url(http://x)}{x}",
    r"\class{a}{b}",
    r"<script>alert(1)</script>",
    r"\text{<img src=x onerror=alert(1)>}",
    r"\unknown{x}",
    r"\frac{1}",
    "{" * 300 + "x" + "}" * 300,
    "x" * 5000,
    "\u202ex\x1b",
    r"\begin{matrix} a & b",
    r"\mathrm{&lt;b&gt;}",
    "]]>x<!--",
    "&#60;script&#62;",
]
ALLOWED = set(tex._ELEMENTS) | {"div", "span", "code", "wbr", "p"}


def held(html):
    """Fails unless a piece of a page has nothing in it but what a formula may have."""
    assert tags(html) <= ALLOWED, tags(html) - ALLOWED
    found = tree(html)  # well-formed
    for element in found.iter():
        for name, value in element.attrib.items():
            plain = name == "class" and value == "math"
            assert plain or re.fullmatch(tex._ATTRIBUTES[name], value), (name, value)


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_tex_smuggles_nothing(source):
    for html in (display(source), inline(source), prose(f"a $${source}$$ b ${source}$ c"), equation(source)):
        held(html)
        assert not re.search("<[^>]*(javascript|http)", html)


PIECES = [*"ab1_^{}\\&<>\"'$# ~%=+()[]|,\n", r"\frac", r"\sqrt", r"\left(", r"\text{", "&amp;", "$$"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_breaks_a_page(text):
    for html in (display(text), inline(text), prose(text), equation(text)):
        held(html)


def test_what_fails_is_shown_as_it_was_written():
    assert inline(r"\unknown{<x>}") == r"<code>\unknown{&lt;x&gt;}</code>"
    assert display(r"\frac{1}") == r'<div class="math"><code>\frac{1}</code></div>'


def test_without_the_package_the_source_is_shown(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "latex2mathml.converter", None)
    assert inline("x_i") == "<code>x_i</code>"


def test_dollars():
    assert has_tex("a $x$ b") and has_tex("$$x$$") and not has_tex("it costs $5 and $6") and not has_tex("no $ here")
    assert prose("it costs $5 and $6") == "<p>it costs $5 and $6</p>"
    html = prose("where $u_i$ is\n\n$$x = 1$$\n\nthe <b>end</b>")
    assert html.startswith("<p>where <math><msub>") and html.count("<p>") == 2 and "&lt;b&gt;end" in html


RAW = r'''
def grad(params, prompt):
    r"""Keys (equation 17).

    $$\nabla = \frac{1}{2}$$

    Parameters
    ----------
    params
    """
'''


def test_what_a_docstring_says():
    assert described(RAW) == ("Keys (equation 17)", r"$$\nabla = \frac{1}{2}$$")
    plain = RAW.replace('r"""', '"""')  # the r forgotten: \n is no new line, and \f is no form feed
    assert described(plain) == described(plain.replace("\\", "\\\\")) == described(RAW)
    assert described('def f():\n    """$x$ is it."""\n') == ("", "$x$ is it.")
    none = 'def f():\n    """No TeX."""\n'
    for code in ("", "lambda x: x", "def f(): pass", none, "def f(:\n", "    x = (\n", "def f():\n  0\n 0"):
        assert described(code) == ("", "")
