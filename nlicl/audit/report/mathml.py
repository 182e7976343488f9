"""Formulas as MathML, from the plain notation in which they are registered: sum_i a_i I_i W_O(i,.) W_V p_s, ^T, 1[u > 0]."""

import re
from html import escape

__all__ = ["mathml"]

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "kappa": "κ", "lambda": "λ",
    "mu": "μ", "nu": "ν", "xi": "ξ", "sigma": "σ", "omega": "ω", "Psi": "Ψ",
}  # fmt: skip
_WORDS = {
    "Row",
    "relu",
    "attn",
    "sm",
    "softmax",
    "exp",
    "log",
    "sqrt",
    "diag",
    "max",
    "min",
    "query",
    "sign",
    "sigmoid",
    "mean",
    "var",
    "tanh",
    "gelu",
    "out",
}
_SYMBOLS = {"-": "−", "*": "·", ">=": "≥", "<=": "≤", "!=": "≠", ".": "·"}
_TOKEN = re.compile(r"\s*(sum|[A-Za-z]+|\d+(?:\.\d+)?|>=|<=|!=|[-+*/=<>()\[\],.;:|_^])")


class _NotMath(Exception):
    pass


def mathml(text: str) -> str:
    """`text` as a MathML element, or as escaped text where it is not a formula.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        HTML.
    """
    try:
        tokens = _tokens(text)
        return f'<math display="block"><mrow>{"".join(_Parser(tokens).everything())}</mrow></math>'
    except _NotMath:
        return f"<p>{escape(text)}</p>"


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _NotMath
        token = match.group(1)
        if (
            token.isalpha()
            and len(token) > 1
            and token not in _WORDS | {"sum"}
            and token not in _GREEK
            and len(token) > 2
        ):
            raise _NotMath
        found.append(token)
        place = match.end()
    if len(found) < 2:
        raise _NotMath
    return found


class _Parser:
    """Reads tokens from left to right: atoms with subscripts and superscripts, in a row."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place = tokens, 0

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.place + ahead] if self.place + ahead < len(self.tokens) else ""

    def next(self) -> str:
        if self.place == len(self.tokens):
            raise _NotMath
        self.place += 1
        return self.tokens[self.place - 1]

    def everything(self) -> list[str]:
        parts = []
        while self.peek():
            parts.append(self.scripted())
        return parts

    def scripted(self) -> str:
        token = self.next()
        if token in "_^":
            raise _NotMath
        sub = sup = None
        while self.peek() in ("_", "^"):
            if self.next() == "_":
                sub = self.subscript(token)
            else:
                sup = _atom(self.next())
        if token == "sum":
            total = "<mo>∑</mo>"
            return f"<munder>{total}{sub}</munder>" if sub else total
        base = _atom(token)
        if sub and sup:
            return f"<msubsup>{base}{sub}{sup}</msubsup>"
        if sub:
            return f"<msub>{base}{sub}</msub>"
        return f"<msup>{base}{sup}</msup>" if sup else base

    def subscript(self, token: str) -> str:
        first = _atom(self.next())
        if token == "W" and self.peek() == "(" and self.peek(2) == ",":  # W_O(i,.), a row
            row = "".join(_atom(self.next()) for _ in range(5))
            return f"<mrow>{first}{row}</mrow>"
        return first


def _atom(token: str) -> str:
    if token[0].isdigit():
        return f"<mn>{token}</mn>"
    if token in _GREEK:
        return f"<mi>{_GREEK[token]}</mi>"
    if token in _WORDS:
        return f'<mi mathvariant="normal">{token}</mi>'
    if token.isalpha():
        return (
            "".join(f"<mi>{letter}</mi>" for letter in token)
            if len(token) == 1
            else f"<mrow>{''.join(map(_atom, token))}</mrow>"
        )
    return f"<mo>{escape(_SYMBOLS.get(token, token))}</mo>"
