"""Laws of augmentation."""

import numpy as np

from fedkd.data.augment import shift_images


def test_a_shift_moves_an_image_and_fills_with_zeros():
    """A single bright pixel in the middle ends up within one pixel of it, on both axes, in all nine places."""
    x = np.zeros((400, 5, 5, 1), np.float32)
    x[:, 2, 2] = 1
    moved = shift_images(x, np.random.default_rng(0))
    assert moved.sum() == 400
    places = {tuple(place) for place in np.argwhere(moved)[:, 1:3]}
    assert places == {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)}
    full = shift_images(np.ones((200, 4, 4, 2), np.float32), np.random.default_rng(0))
    assert set(full.sum((1, 2, 3)).astype(int)) == {32, 24, 18}


def test_leading_axes_are_kept():
    x = np.random.default_rng(1).random((3, 7, 6, 6, 1)).astype(np.float32)
    assert shift_images(x, np.random.default_rng(0)).shape == x.shape
