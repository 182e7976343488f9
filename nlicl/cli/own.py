"""`nlicl audit FILE.py:SUBJECT`: what a file of the reader's hands to the audit, as a paper of nlicl's does."""

import re
from typing import TYPE_CHECKING

from .common import CannotRun

if TYPE_CHECKING:
    from ..audit import Subject

__all__ = ["own_subject"]

_FUNCTION = re.compile(r"(@|async\s|def\s|class\s)")  # how the text of a function or class begins
_FORM, _EXAMPLE = "FILE.py:LOSS or FILE.py:SUBJECT", "losses.py:loss"


def own_subject(where: str) -> "Subject | None":
    """The Subject that FILE.py:NAME names, or that of the Paper that it names; None if it names a function.

    A file whose text defines NAME as a function is not run. Any other is run in this process: a subject's functions are
    what formulas are held against.

    Raises
    ------
    CannotRun
        The file does not import, or NAME is none of the three.
    InvalidInput
        There is no such file, or the subject is not what `nlicl.audit.Subject` says.
    """
    from ..audit import Subject
    from ..audit.accept import accept
    from ..audit.process import CannotLoad, find
    from ..core.describe import meant, short
    from ..papers.paper import Paper

    named = find({}, "", where, _FORM, _EXAMPLE)
    if _FUNCTION.match(named.source.text_of(named.name)):
        return None
    try:
        module = named.source.load(named.opening)
    except CannotLoad as error:
        raise CannotRun(str(error)) from None
    there = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    subjects = [name for name, value in there.items() if isinstance(value, (Subject, Paper))]
    if named.name not in there:
        offered = f"; it has {', '.join(subjects)}" if subjects else ""
        raise CannotRun(f"{where}: {named.source.shown} has no {named.name}{meant(named.name, there)}{offered}")
    value = there[named.name]
    if isinstance(value, (Paper, Subject)):
        subject = value if isinstance(value, Subject) else value.subject
        accept(subject)
        return subject
    if callable(value):
        return None
    offered = f", such as {subjects[0]}" if subjects else ""
    raise CannotRun(f"{where} is {short(value)}; expected a loss, an nlicl.audit.Subject{offered}, or a Paper")
