"""What the tests of `nlicl.audit_gradient` ask of its reports."""

import re

import nlicl

__all__ = ["NOT_RIGHT", "NOT_WRONG", "audit", "outcome", "says", "verdict", "words", "wrong_in"]

NOT_WRONG = ("agree", "undetermined")
NOT_RIGHT = ("disagree", "undetermined")


def audit(*arguments, **options):
    """The report, and with it what no report may be: an agreement of a wide tolerance."""
    report = nlicl.audit_gradient(*arguments, **options)
    if report.verdict == "agree":
        assert all(argument.tolerance <= 1e-3 for argument in report.arguments), report
        assert not any(argument.wrong for argument in report.arguments), report
    return report


def verdict(*arguments, **options):
    return audit(*arguments, **options).verdict


def words(report):
    """All that a report says, in lower case."""
    details = [item["kind"] + ": " + item["detail"] for argument in report.arguments for item in argument.diagnosis]
    return "\n".join([report.reason, str(report), *details]).lower()


def says(report, pattern):
    return re.search(pattern, words(report)) is not None


def wrong_in(report):
    return [argument.name for argument in report.arguments if argument.wrong]


def outcome(*arguments, **options):
    """The verdict; or, where the audit refuses, its sentence, which must be one of ours and not NumPy's."""
    try:
        return nlicl.audit_gradient(*arguments, **options).verdict
    except (TypeError, ValueError) as error:
        assert type(error).__module__.startswith("nlicl"), error
        assert not re.search("inhomogeneous|setting an array element|ufunc", str(error)), error
        return str(error)
