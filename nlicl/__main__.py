"""The process of the command line: `nlicl`, and `python -m nlicl`."""

import sys

from .core.interruption import Ending

__all__ = ["main"]


def main() -> None:
    """Run the command line, and end the process with its exit status.

    Signals are handled before anything large is imported: Ctrl-C ends the process with one line from here on.
    """
    ending = Ending()
    try:
        ending.begin()
        from .cli import main as command

        status = command()
    except KeyboardInterrupt as reason:  # during the import
        print("nlicl: interrupted", file=sys.stderr)
        status = getattr(reason, "status", 130)
    ending.finish(status)


if __name__ == "__main__":
    main()
