"""The plain notation in which formulas are registered, as TeX: sum_i a_i I_i W_O(i,.) W_V p_s, ^T, 1[u > 0], yhat."""

import re

__all__ = ["to_tex"]

_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "kappa", "lambda", "mu", "nu", "xi", "pi", "rho", "sigma",
    "tau", "phi", "chi", "psi", "omega", "Lambda", "Psi", "Sigma", "partial",
}  # fmt: skip
_FUNCTIONS = {
    "relu", "softmax", "exp", "log", "diag", "max", "min", "sign", "sigmoid", "mean", "var", "tanh", "gelu", "tr",
}  # fmt: skip
_WORDS = _FUNCTIONS | {"attn", "Attn", "sm", "query", "out", "labels", "loss"}
_ACCENTS = {
    "yhat": r"\hat{y}",
    "xh": r"\hat{x}",
    "xt": r"\tilde{x}",
    "yb": r"\bar{y}",
    "tbar": r"\bar{t}",
    "phibar": r"\bar{\phi}",
    "Mbar": r"\bar{M}",
}
_SHORT_WORDS = {"of", "in", "is", "as", "to", "by", "an", "on", "it", "or", "at", "we", "if", "be", "my", "so"}
_SYMBOLS = {
    "<=": r"\le ",
    ">=": r"\ge ",
    "!=": r"\ne ",
    "..": r"\dots ",
    "~": r"\propto ",
    "||": r"\|",
    "{": r"\{",
    "}": r"\}",
    "*": r"\cdot ",
    ".": r"\cdot ",
    ":": r":\; ",
    "<(": r"\langle ",
    ")>": r"\rangle ",
}
_TOKEN = re.compile(
    r"\s*(?:(?P<star>(?<=\w)\*)|(?P<word>[A-Za-z]+'s)|(?P<name>[A-Za-z]+)|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<open>(?<!\S)<(?=[^\s=]))|(?P<close>(?<=\S)>(?!=)(?!\w))|(?P<other><=|>=|!=|\|\||\.\.|[-+*/=<>()\[\]{},.;:|_^~]))"
)


class _NotMath(Exception):
    pass


def to_tex(text: str) -> str:
    """A formula in plain notation as TeX; empty where the text is none.

    Parameters
    ----------
    text : str
        For example "g sum_i a_i I_i sum_s attn_s p_s^T". Words among the symbols stay words.

    Returns
    -------
    str
    """
    try:
        tokens = _tokens(text)
        words = sum(kind == "word" or (kind == "name" and _is_word(token)) for kind, token in tokens)
        if len(tokens) < 2 or 2 * words >= len(tokens) or tokens[0][1] in ("_", "^"):
            return ""
        if not any(token in ("_", "^", "=", "sum") for _, token in tokens):
            return _product(tokens) if words == 0 else ""
        return _Parser(tokens).everything()
    except (_NotMath, RecursionError):  # of brackets in brackets
        return ""


def _product(tokens: list[tuple[str, str]]) -> str:
    """TeX of a product without scripts, such as dY W or g relu(h)."""
    return _Parser(tokens).everything() if all(kind != "other" or token in "()" for kind, token in tokens) else ""


def _tokens(text: str) -> list[tuple[str, str]]:
    """Pairs of a kind and a text; words are those of no formula."""
    found: list[tuple[str, str]] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise _NotMath
        kind, token = match.lastgroup, match.group(match.lastgroup)
        scripted = text[match.end() : match.end() + 1] in ("_", "^")
        if kind == "name" and _is_word(token) and not scripted and not (found and found[-1][1] in ("_", "^")):
            kind = "word"
        if kind in ("open", "close"):
            kind, token = "other", "<(" if kind == "open" else ")>"
        found.append((kind, token))
        place = match.end()
    if sum(token == "<(" for _, token in found) != sum(token == ")>" for _, token in found):
        found = [(kind, {"<(": "<", ")>": ">"}.get(token, token)) for kind, token in found]
    return found


def _is_word(name: str) -> bool:
    known = name in _ACCENTS or name in _GREEK or name in _WORDS or name == "sum" or name == "sqrt"
    if known or (name[0] == "d" and name[1:] in _GREEK):
        return False
    return len(name) > 2 or name in _SHORT_WORDS


class _Parser:
    """Reads tokens from left to right, and writes TeX."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens, self.place = tokens, 0

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.place + ahead][1] if self.place + ahead < len(self.tokens) else ""

    def next(self) -> tuple[str, str]:
        if self.place == len(self.tokens):
            raise _NotMath
        self.place += 1
        return self.tokens[self.place - 1]

    def everything(self, until: str = "") -> str:
        """All up to a closing bracket, which is taken, or to the end."""
        parts: list[str] = []
        while self.peek() != until:
            parts.append(self.part())
        if until:
            self.next()
        return " ".join(parts)

    def part(self) -> str:
        kind, token = self.next()
        if kind == "word":
            words = [token]
            while self.place < len(self.tokens) and self.tokens[self.place][0] == "word":
                words.append(self.next()[1])
            before, after = " " * (self.place > len(words)), " " * (self.peek() not in ("", ",", ";", ")", ":"))
            return rf"\text{{{before}{' '.join(words)}{after}}}"
        if token in ("_", "^"):
            return token + self.script()
        if token == "1" and self.peek() in ("[", "{"):
            closing = "]" if self.next()[1] == "[" else "}"
            left, right = ("[", "]") if closing == "]" else (r"\{", r"\}")
            return rf"\mathbf{{1}}{left}{self.everything(closing)}{right}"
        if token == "sqrt" and self.peek() == "(":
            self.next()
            return rf"\sqrt{{{self.everything(')')}}}"
        if token in ("attn", "Attn", "sm") and self.peek() == "_":
            scripts = ""
            while self.peek() in ("_", "^"):
                scripts += self.next()[1] + self.script()
            return rf"{_atom(kind, token)}{scripts}\,"
        if token in _FUNCTIONS:
            apart = self.tokens[self.place - 2][0] not in ("other", "word") if self.place > 1 else False
            return r"\," * apart + _atom(kind, token) + r"\," * self.peek().isalnum()
        return _atom(kind, token)

    def script(self) -> str:
        """What stands below or above: a token, or all in braces; of W_O(i,.) the row as well."""
        kind, token = self.next()
        if token == "{":
            return f"{{{self.everything('}')}}}"
        row = ""
        if token == "O" and self.peek() == "(" and self.peek(2) == ",":
            row = "".join(_atom(*self.next()) for _ in range(5))
        if kind == "other" and token not in "+-":
            raise _NotMath
        if token == "tr":  # two indices, and no trace
            return "{t r}"
        return f"{{{_atom(kind, token)}{row}}}"


def _atom(kind: str, token: str) -> str:
    """TeX of a token."""
    if kind == "star":
        return "^{*}"
    if kind == "number":
        return token
    if kind == "other":
        return _SYMBOLS.get(token, token)
    if token == "sum":
        return r"\sum"
    if token in _ACCENTS:
        return _ACCENTS[token]
    if token in _GREEK:
        return rf"\{token} "
    if token[0] == "d" and token[1:] in _GREEK:
        return rf"d\{token[1:]} "
    return token if len(token) <= 2 and token not in _WORDS else rf"\mathrm{{{token}}}"
