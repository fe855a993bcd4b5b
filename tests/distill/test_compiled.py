"""Laws of functions that are compiled once a key."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from fedkd.base import runtime
from fedkd.base.tensors import empty
from fedkd.distill.compiled import Compiled


@pytest.fixture(autouse=True)
def configured():
    runtime.configure()


def test_nested_arrays_go_in_and_nested_tensors_come_out():
    double = Compiled(
        lambda state, rate: ({name: [2 * rate * a for a in arrays] for name, arrays in state.items()}, rate)
    )
    state = {"b": [np.ones(2, np.float32)], "a": [np.float32(3), np.arange(4, dtype=np.float32)], "none": []}
    found, rate = double((), state, np.float32(2))
    assert set(found) == set(state)
    assert found["none"] == []
    np.testing.assert_array_equal(found["b"][0], [4, 4])
    np.testing.assert_array_equal(found["a"][1], [0, 4, 8, 12])
    assert float(rate) == 2


def test_a_function_is_traced_once_a_key():
    traced = []
    count = Compiled(lambda x: traced.append(x.shape) or x)
    for size in (2, 3, 2, 3):
        assert count(size, np.zeros(size, np.float32)).shape == (size,)
    assert traced == [(2,), (3,)]


def test_what_the_function_holds_is_given_to_it():
    held = tf.Variable([1.0, 2.0])
    total = Compiled(lambda x: x + held)
    np.testing.assert_array_equal(total((), np.zeros(2, np.float32)), [1, 2])
    held.assign([5.0, 6.0])
    np.testing.assert_array_equal(total((), np.zeros(2, np.float32)), [5, 6])


@pytest.mark.parametrize("aligned", [False, True])
def test_arguments_are_not_changed_and_results_last(aligned):
    """Tensors may share the memory of arrays; neither side writes into it."""
    add = Compiled(lambda x: [x + 1, x])
    given = empty((100_000,), np.dtype(np.float32)) if aligned else np.zeros(100_000, np.float32)
    given[:] = 0
    first = [np.asarray(t) for t in add((), given)]
    add((), given + 7)
    assert not given.any()
    assert (first[0] == 1).all()
    assert not first[1].any()


@pytest.mark.parametrize("inline", [False, True])
def test_operations_run_as_they_were_traced(inline):
    """Grappler would make one product of the sum, and temporary variables of others, whose names clash on threads."""
    total = Compiled(lambda x: tf.add_n([x, x, x, x]))
    context.enable_run_metadata()
    try:
        if inline:
            with runtime.inline_operations():
                total((), np.ones((4, 4), np.float32))
        else:
            total((), np.ones((4, 4), np.float32))
        graphs = context.export_run_metadata().partition_graphs
    finally:
        context.disable_run_metadata()
    assert "AddN" in [node.op for graph in graphs for node in graph.node]


def test_loops_run_side_by_side_and_alone():
    cell = keras.layers.LSTM(3)
    cell.build((None, 5, 2))
    run = Compiled(cell)
    x = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    alone = np.asarray(run((), x))

    def beside(_):
        with runtime.inline_operations():
            return np.asarray(run((), x))

    with ThreadPoolExecutor(3) as pool:
        assert all(np.array_equal(alone, other) for other in pool.map(beside, range(9)))


def test_operations_are_inline_in_the_thread_that_asked_alone():
    assert not runtime.inline()
    with runtime.inline_operations():
        with ThreadPoolExecutor(1) as pool:
            assert not pool.submit(runtime.inline).result()
        with runtime.inline_operations():
            pass
        assert runtime.inline()
    assert not runtime.inline()


def test_a_trace_that_fails_can_be_tried_again():
    fails = Compiled(lambda x: tf.reshape(x, (3,)))
    for _ in range(2):
        with pytest.raises(ValueError, match="reshape"):
            fails((), np.zeros(2, np.float32))


@pytest.mark.parametrize("shape", [(30, 4_000), (40_000, 3)])
def test_arrays_end_in_the_same_bits_wherever_they_begin(shape):
    """One is read in place, one is copied first, one may not be lent as it is read-only."""
    norm = Compiled(lambda x: [tf.reduce_sum(tf.sin(x) * x, axis=1), tf.matmul(x, x[:3], transpose_b=True)])
    first = empty(shape, np.dtype(np.float32))
    first[...] = np.random.default_rng(0).normal(size=shape)
    other = np.empty(first.size + 1, np.float32)[1:].reshape(shape)
    other[...] = first
    still = empty(shape, np.dtype(np.float32))
    still[...] = first
    still.flags.writeable = False
    found = [[np.array(t) for t in norm((), given)] for given in (first, other, still)]
    for each in found[1:]:
        for a, b in zip(found[0], each, strict=True):
            np.testing.assert_array_equal(a, b)
