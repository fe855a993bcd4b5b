"""The order in which a client's examples are trained on."""

import numpy as np


def batches(examples: int, size: int, epochs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each batch, shuffled anew each epoch, and each row's share of its batch.

    Args:
        examples: n, at least 1.
        size: Rows in a batch.
        epochs: Passes over the examples.
        rng: Draws the order.

    Returns:
        rows, int of shape (steps, size), and shares, float32 of the same shape, each row of which sums to 1. The last
        batch of an epoch is filled up with examples that have share 0, so that all batches have one shape.
    """
    steps = -(-examples // size)
    rows = np.concatenate([np.resize(rng.permutation(examples), steps * size) for _ in range(epochs)])
    real = np.tile(np.arange(steps * size) < examples, epochs).reshape(-1, size).astype(np.float32)
    return rows.reshape(-1, size), real / real.sum(1, keepdims=True)
