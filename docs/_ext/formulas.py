"""Formulas as MathML, which browsers show without a script: $...$ and $$...$$ of the pages, by latex2mathml."""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)


def mathml(latex: str, display: str) -> str:
    """A formula as a MathML element; ValueError if something of it is not understood.

    Parameters
    ----------
    latex : str
    display : {"inline", "block"}
    """
    latex = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{align*}", latex.strip())
    # an operator name of several letters is one word: latex2mathml would set its letters one by one
    latex = re.sub(r"\\mathrm\{([A-Za-z]{2,})\}", r"\\text{\1}", latex)
    found = convert(latex, display=display)
    if lost := re.search(r"<m[ion]>(?:&(?!#)|\\)[^<]*", found):
        raise ValueError(f"{lost[0]!r} is not understood")
    return found


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(_made(node.astext(), "inline", node))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    """A line of formulas apart by \\qquad is several elements: a narrow page sets them below each other."""
    text = node.astext()
    parts = [text] if r"\begin" in text else re.split(r"\\qquad", text)
    spans = "".join(f"<span>{_made(part, 'block', node)}</span>" for part in parts)
    self.body.append(f'<div class="math">{spans}</div>\n')
    raise nodes.SkipNode


def _made(latex: str, display: str, node: nodes.Element) -> str:
    try:
        return mathml(latex, display)
    except Exception as error:
        LOG.warning("formula %r: %s", latex, error, location=node)
        return ""


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
