"""Libraries that are needed for one thing only, and may be missing: matplotlib for pictures, pandas for tables."""

import importlib
from typing import Any

__all__ = ["need"]


def need(module: str, extra: str, what: str) -> Any:
    """A module of a library that is optional.

    Parameters
    ----------
    module : str
        Its name, "matplotlib.pyplot" for instance.
    extra : str
        The extra of nlicl that installs it.
    what : str
        What needs it, for the error: "run.plot".

    Raises
    ------
    ModuleNotFoundError
        It is not installed; the message says what to install.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise ModuleNotFoundError(
            f"{what} needs {library}, which is not installed: pip install '.[{extra}]' in a clone, or {library} itself",
            name=library,
        ) from None
