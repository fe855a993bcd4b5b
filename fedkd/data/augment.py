"""Random changes of training inputs that keep their labels."""

import numpy as np


def shift_images(x: np.ndarray, rng: np.random.Generator, pixels: int = 1) -> np.ndarray:
    """Shift each image by up to some pixels up, down, left or right; what comes in is 0.

    Both models of a client see the same shifted images: distillation then compares them at more places than the
    client has examples.

    Args:
        x: float32 of shape (..., height, width, channels).
        rng: Draws each image's shift.
        pixels: Largest shift on each axis.
    """
    height, width = x.shape[-3:-1]
    flat = x.reshape(-1, *x.shape[-3:])
    padded = np.pad(flat, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    down, right = rng.integers(0, 2 * pixels + 1, (2, len(flat), 1))
    rows, columns = down + np.arange(height), right + np.arange(width)
    moved = padded[np.arange(len(flat))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.reshape(x.shape)
