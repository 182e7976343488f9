"""The curves of Li et al. 2024 [digitised]: read off their published bitmaps."""

from importlib.resources import files

from ...series import Series, read_curves

__all__ = ["published"]


def published(figure: str) -> list[Series]:
    """The paper's curves of a figure, "fig2a" for example."""
    return read_curves(files("nlicl.experiments.li2024") / "curves" / f"li2024-{figure}.csv")
