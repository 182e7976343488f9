"""The reader's code in a process of its own: it gets arrays and returns arrays, which are read as data.

    parent   judges; runs none of the reader's code
      guard    ends the child, and whatever the child has started, when the child ends or the parent asks or is gone
        child    loads the reader's files, calls their functions

A crash, an endless loop, a changed library or a closed descriptor in the child cannot change what the parent computes. It is
no prison: the reader's code has the reader's rights, on files and on other processes.
"""

from .channel import Garbled, Link
from .parent import Ended, Late, Process, available
from .source import CannotLoad, Named, Source, find, is_readers
from .watch import own_calls

__all__ = [
    "CannotLoad",
    "Ended",
    "Garbled",
    "Late",
    "Link",
    "Named",
    "Process",
    "Source",
    "available",
    "find",
    "is_readers",
    "own_calls",
]
