"""Compiled array code of nlicl: forward and backward passes by hand. Imports nothing of nlicl but its errors.

Legend, for every file of this folder
    B      prompts in the batch            b      prompts in a block, worked on together; at most `block`
    l      tokens before the query         n_keys tokens that the query attends to: l, or l+1 with itself
    d      width of a token, d = d_X + d_Y
    m_a    rows of W_Q and W_K             m_b    rows of W_V, columns of W_O
    m      neurons, rows of W_O            z      label, F score, g = dloss/dF
    chunk  a part of the batch that one thread takes at a time, with partial sums of its own; n_chunks of them
A gradient is called `d` + the name of its variable. Outputs come first, then inputs, then sizes. Every
function works in the dtype of the arrays it is given and branches on real parts only, so that a complex
specialisation carries a derivative in the imaginary part.
"""

from . import compile, layers, products, sampling, steps

__all__ = ["compile", "layers", "products", "sampling", "steps"]
