r"""What a reader's own function says of itself: a title, and TeX between dollars."""

import inspect
import io
import re
import textwrap
import tokenize

from .tex import has_tex

__all__ = ["described"]

_LITERAL = re.compile(r"(?P<prefix>[rRuU]?)(?P<quote>\"\"\"|'''|\"|')(?P<text>.*)(?P=quote)", re.DOTALL)
_SECTION = re.compile(r"^\w[\w ]*\n-{3,}\s*$", re.MULTILINE)  # of numpydoc: Parameters, Returns ...


def described(code: str) -> tuple[str, str]:
    """Title and text of a function whose documentation holds TeX; two empty texts for any other.

    Backslashes are those of the source, so that TeX is read as it was written where the r of a raw string was forgotten.

    Parameters
    ----------
    code : str
        Its source text.

    Returns
    -------
    title : str
        The first line, unless TeX stands in it.
    text : str
        The rest, up to a section such as Parameters.
    """
    text = _documentation(code)
    text = text[: match.start()] if (match := _SECTION.search(text)) else text
    if not has_tex(text):
        return "", ""
    title, _, rest = text.strip().partition("\n")
    if has_tex(title) or "$$" in title or not has_tex(rest):
        return "", text.strip()
    return title.strip().rstrip("."), rest.strip()


def _documentation(code: str) -> str:
    """The documentation of a function as it stands in its source; empty if there is none."""
    kinds: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(textwrap.dedent(code)).readline):
            if token.type == tokenize.STRING and kinds and kinds[-1] == tokenize.INDENT:
                return _text(token.string)
            if tokenize.INDENT in kinds:
                break
            if token.type not in (tokenize.NL, tokenize.COMMENT):
                kinds.append(token.type)
    except (SyntaxError, tokenize.TokenError, ValueError):
        pass
    return ""


def _text(literal: str) -> str:
    """What a string's literal says, its backslashes kept."""
    match = _LITERAL.fullmatch(literal)
    if match is None:
        return ""
    text = match["text"]
    if match["prefix"].lower() != "r":
        text = text.replace("\\\\", "\\")
    return inspect.cleandoc(text)
