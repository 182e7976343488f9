"""Steps: a model's forward and backward pass over a batch, one file for each form of prompts.

dense        tokens, the products W_Q^T W_K and W_O W_V merged first
unmerged     tokens, the four matrices as they are: for few prompts
coded        token = E[relevant] + kappa E[irrelevant] + sign E[label]
multihot     token = sum of the columns of E that its code names
regression   Huang et al.'s model, on tokens and on counts of features
"""

from . import coded, dense, multihot, regression, unmerged

__all__ = ["coded", "dense", "multihot", "regression", "unmerged"]
