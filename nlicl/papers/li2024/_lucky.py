"""Lucky neurons, from how often each is on: what `mechanism.lucky_neurons` and the observer share."""

import numpy as np

from ...core.errors import InvalidValue

__all__ = ["counted_lucky"]


def counted_lucky(
    a: np.ndarray, on: np.ndarray, labels: np.ndarray, share: float = 0.99
) -> tuple[np.ndarray, np.ndarray]:
    """`lucky_neurons` from the number of prompts of label +1, and of -1, on which a neuron is on (2, m). Errors alike."""
    positive, negative = np.count_nonzero(labels > 0), np.count_nonzero(labels < 0)
    if not (positive and negative):
        raise InvalidValue(
            f"labels holds {np.unique(labels).tolist()} only; expected both -1 and +1. Give more prompts."
        )
    return (a > 0) & (on[0] / positive >= share), (a < 0) & (on[1] / negative >= share)
