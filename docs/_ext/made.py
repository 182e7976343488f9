"""Folders of pages that are written when the site is built: docs/sections and docs/reference, which git ignores."""

from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"


def write(folder: str, pages: Mapping[str, str]) -> None:
    """Write pages, by their names, into a folder of docs. One that is as it was is left alone: Sphinx reads what is newer."""
    for name, text in pages.items():
        path = DOCS / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def clear(folder: str, kept: Mapping[str, str]) -> None:
    """Delete what an earlier build has left in a folder, other than these pages."""
    for path in (DOCS / folder).glob("*.*"):
        if path.name not in kept:
            path.unlink()
