"""What stands for the reader's names and objects where a changed function runs, so that his own stay as they are."""

from typing import Any

__all__ = ["Names", "Quiet"]


class Names(dict[str, Any]):
    """Names of a file, as they are when they are asked for, but for some that are others.

    Parameters
    ----------
    names : dict
        Of the file.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__({name: names[name] for name in ("__name__", "__builtins__") if name in names})
        self.names = names

    def __missing__(self, name: str) -> Any:
        return self.names[name]


class Quiet:
    """Keeps a class from hearing of one that is made of it, which it may keep a list of."""

    __slots__ = ()

    def __init_subclass__(cls, **given: Any) -> None: ...
