"""The gradients of Bu et al. 2024 with their factors marked: those of the transformer, on this paper's parameters."""

from ...audit.mistakes import Mark
from ...models.transformer.marked import Layer, marked
from ...models.transformer.prompts import Prompt as AnyPrompt
from .prompts import Prompt
from .reference import Blocks, Merged

__all__ = ["of_all", "of_blocks", "of_merged"]


def _merged_layer(merged: Merged, prompt: AnyPrompt, mark: Mark) -> Layer:
    """With one matrix for both W_Q and W_K."""
    W_QK, W_V, W_O, r = merged
    p = mark.keys(prompt.tokens, prompt.query_attends).T
    return Layer(W_QK, None, W_O, r, p, prompt.query, W_V @ p, prompt.z)


def _block_layer(blocks: Blocks, prompt: Prompt, mark: Mark) -> Layer:
    """Words are keys, labels are values."""
    W_Qx, W_Kx, W_Oy, r = blocks
    tokens = mark.keys(prompt.tokens, prompt.query_attends).T
    x, y = tokens[: prompt.d_x], tokens[prompt.d_x :]
    return Layer(W_Qx, W_Kx, W_Oy, r, x, prompt.x_q, y, prompt.z, ("W_Q^x", "W_K^x", "W_O^y"))


of_all = marked("logistic")
of_merged = {"W_QK": marked("logistic", _merged_layer)["W_Q"]}
_blocks = marked("logistic", _block_layer)
of_blocks = {"W_Qx": _blocks["W_Q"], "W_Kx": _blocks["W_K"], "W_Oy": _blocks["W_O"]}
