"""What an audit found, in a sentence or a few, for a reader who has seen nothing else of it."""

from .findings import Findings, FormulaReport

__all__ = ["claim", "headline", "mistakes_found", "sentences"]

SAID = 3  # formulas that have a sentence each; of more they are counted
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def headline(report: Findings) -> str:
    """The whole report in words.

    Parameters
    ----------
    report : Findings

    Returns
    -------
    str
        Its sentences, one after the other.
    """
    return " ".join(sentences(report))


def sentences(report: Findings) -> list[str]:
    """The same, a sentence each. What an error says may have full stops in it.

    Parameters
    ----------
    report : Findings

    Returns
    -------
    list of str
        The first is the most important one: "dWK is not d loss / d W_K: it is wrong on 14 of 20 random inputs ..."
    """
    formulas = report.formulas
    if any(formula.background.role != "own" for formula in formulas):
        return _of_paper(report)
    order = ("disagree", "undetermined", "agree")
    ranked = sorted(formulas, key=lambda formula: order.index(formula.verdict))
    if len(formulas) <= SAID:
        found = [claim(formula, report) for formula in ranked]
    else:
        found = list(filter(None, (_counted(ranked, verdict) for verdict in order)))
    reason = getattr(report, "reason", "")
    if report.verdict != "agree" and all(formula.verdict == "agree" for formula in formulas):  # a Hessian, say
        return [*filter(None, [_sentence(reason)]), *found]
    return found


def claim(formula: FormulaReport, report: Findings) -> str:
    """What was found of one formula, in a sentence.

    Parameters
    ----------
    formula : FormulaReport
    report : Findings
        That it is part of.

    Returns
    -------
    str
    """
    called, target = formula.called, formula.target
    if formula.background.role == "control" and formula.verdict != "disagree":
        return "The negative control, a formula that is broken on purpose, was not caught: the other verdicts prove nothing."
    if formula.verdict == "undetermined":
        reason = _failure(formula, report) or formula.reason or getattr(report, "reason", "") or "see below"
        return _sentence(f"it is undetermined whether {called} is {target}: {reason.rstrip('.')}")
    if formula.verdict == "agree":
        digits = "" if formula.digits is None else f", to {_number(int(formula.digits), 'digit')}"
        known = "" if formula.ok else ", although it is registered as wrong"
        return _sentence(f"{called} is {target} {_right_on(formula, report)}{digits}{known}")
    known = ", as is known" if formula.expected == "disagree" else ""
    parts = [text for text in (_failure(formula, report), _wrong_on(formula, report)) if text]
    found = mistakes_found(formula)
    text = f"{called} is not {target}{known}: {', and '.join(parts) or 'see below'}"
    return _sentence(text + (f"; {found}" if found else ""))


def mistakes_found(formula: FormulaReport) -> str:
    """How many mistakes were found in a formula, in words; empty where that is no question."""
    n = formula.mistakes
    if n:
        were = "was found, and is" if n == 1 else f"were found, {'both' if n == 2 else 'all'} are"
        return f"{_word(n)} mistake{'s' * (n > 1)} {were} named below"
    if formula.verdict != "disagree" or (formula.failed and not formula.wrong_draws):
        return ""
    if any(item["kind"] != "unknown" for item in formula.diagnosis):
        return "what is wrong is named below"
    return "no mistake that the audit knows explains it"


def _of_paper(report: Findings) -> list[str]:
    """Of all that a paper registers."""
    bad = [formula for formula in report.formulas if not formula.ok]
    if bad:
        found = [claim(formula, report) for formula in bad[:SAID]]
        more, rest = len(bad) - SAID, len(report.formulas) - len(bad)
        if more > 0:
            found.append(
                "One more verdict is not as expected." if more == 1 else f"{more} more verdicts are not as expected."
            )
        if rest:
            found.append(f"The other {'one verdict is' if rest == 1 else f'{rest} verdicts are'} as expected.")
        return found
    right = [formula for formula in report.formulas if formula.verdict == "agree"]
    own = sum(formula.background.role == "formula" for formula in right)
    library = sum(formula.background.role == "library" for formula in right)
    known = sum(formula.background.role == "formula" for formula in report.formulas) - own
    digits = min((int(formula.digits) for formula in right if formula.digits is not None), default=0)
    found = []
    if own:
        every = f"all {own} gradient formulas" if own > 1 else "the gradient formula"
        are = "are" if own > 1 else "is"
        found.append(f"{every} that nlicl has for {report.paper} {are} right, to {_number(digits, 'digit')} or more")
        if library:
            its = f"the library's own {_word(library)} gradients" if library > 1 else "the library's own gradient"
            found[-1] += f"; so {'are' if library > 1 else 'is'} {its}"
    if known:
        word = _word(known)
        found.append(
            f"{word} other formula{'s' if known > 1 else ''} {'are' if known > 1 else 'is'} known to be wrong, and the audit "
            "finds that by itself"
        )
    return list(map(_sentence, found)) or [report.conclusion]


def _counted(formulas: list[FormulaReport], verdict: str) -> str:
    """Those with one verdict, counted and named."""
    names = [formula.name for formula in formulas if formula.verdict == verdict]
    if not names:
        return ""
    what = {"disagree": "wrong", "undetermined": "undetermined", "agree": "right"}[verdict]
    are = "is" if len(names) == 1 else "are"
    return f"Of {len(formulas)} formulas {_word(len(names))} {are} {what}: {', '.join(names)}."


def _wrong_on(formula: FormulaReport, report: Findings) -> str:
    """Where a formula is wrong, as the end of a sentence."""
    wrong, judged = len(formula.wrong_draws), formula.draws - len(formula.failed)
    if not wrong:
        return ""
    if formula.failed:
        return f"it is wrong on {wrong} of the other {judged}"
    return f"it is wrong {formula.on(wrong)}{_defined(formula, report)}"


def _right_on(formula: FormulaReport, report: Findings) -> str:
    """Where a formula is right, as part of a sentence."""
    out = len(formula.left_out)
    if not out:
        return formula.right_on + _defined(formula, report)
    rest = "the other one tells" if out == 1 else f"the other {out} tell"
    return f"{formula.right_on} ({rest} nothing, since rounding there is too large)"


def _defined(formula: FormulaReport, report: Findings) -> str:
    """Added where a formula was judged on some of the draws only."""
    return " where it is defined" if formula.background.role != "library" and formula.draws < report.draws else ""


def _failure(formula: FormulaReport, report: Findings) -> str:
    """What a formula returns or raises instead of an array, and where."""
    if not formula.error or not formula.failed:
        return ""
    what = formula.error.removeprefix(f"{formula.name} ").rpartition(", on draw ")[0] or formula.error
    return f"it {what}, {formula.on(len(formula.failed))}"


def _sentence(text: str) -> str:
    """With a full stop; with a capital letter where an ordinary word is the first one."""
    first = text.split(" ", 1)[0]
    if first in ("it", "the", "all", *_NUMBERS):
        text = text[0].upper() + text[1:]
    return text if not text or text.endswith((".", "?", "!")) else text + "."


def _word(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else str(n)


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
