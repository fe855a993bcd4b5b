"""Laws of the arrays that weights are held in."""

import numpy as np
import pytest

from fedkd.base.tensors import ALIGNMENT, empty, zeros


@pytest.mark.parametrize("shape", [(), (0,), (3,), (5, 7), (1 << 11, 1 << 10)])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, np.float64])
def test_arrays_begin_where_tensorflow_reads_them_in_place(shape, dtype):
    array = empty(shape, np.dtype(dtype))
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.ctypes.data % ALIGNMENT == 0 or not array.size
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[...] = 3
    assert (array == 3).all()


@pytest.mark.parametrize("shape", [(3,), (1 << 11, 1 << 10)])
def test_zeros_are_zeros_that_can_be_written(shape):
    array = zeros(shape, np.dtype(np.float32))
    assert not array.any()
    array[-1] = 2
    assert array.sum() == 2 * array[-1].size
