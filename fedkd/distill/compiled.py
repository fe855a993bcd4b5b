"""A function of nested tensors, compiled once a key and called with little ceremony.

Calling what ``tf.function`` returns costs .3 ms and more: arguments are bound, checked and converted one by one in
Python, while the other threads' clients wait for its lock. What the checks would find can't happen here, where a key
stands for all shapes and dtypes.
"""

import threading
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from fedkd.base import runtime
from fedkd.base.tensors import ALIGNMENT

_LARGE = 1 << 16  # bytes, from which a copy takes longer than going without


class _Traced(NamedTuple):
    function: Any
    dtypes: list[Any]
    outputs: Any


class Compiled:
    """Compiles a function for each key it is called with.

    Args:
        function: Of nested tensors, returns nested tensors; pure but for random layers' own states.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._traced: dict[object, _Traced] = {}
        self._tracing = threading.Lock()

    def __call__(self, key: object, *args: Any, varying: Collection[int] = ()) -> Any:
        """Call the function.

        Args:
            key: Stands for the structure, shapes and dtypes of the arguments; the first call of each compiles, one
                thread at a time.
            args: Nested arrays or tensors.
            varying: Identities of those that have other numbers of rows under the same key.

        Returns:
            What the function returns, as tensors.
        """
        if key not in self._traced:
            # Traced for the plainest executor: loops of a function traced for another one can't run on it.
            with self._tracing, runtime.inline_operations():
                if key not in self._traced:
                    self._traced[key] = self._trace(args, varying)
        function, dtypes, outputs = self._traced[key]
        flat = keras.tree.flatten(args)
        tensors = [array if isinstance(array, tf.Tensor) else _tensor(array) for array in flat]
        # A client that is alone gives its operations to all threads of TensorFlow's, which a call as operation doesn't.
        found = _inline(function, dtypes, tensors) if runtime.inline() else function(*tensors)
        return keras.tree.pack_sequence_as(outputs, found)

    def _trace(self, args: Any, varying: Collection[int]) -> _Traced:
        outputs: list[Any] = []

        def flat(*tensors: Any) -> list[Any]:
            outputs[:] = [self._function(*keras.tree.pack_sequence_as(args, tensors))]
            return keras.tree.flatten(outputs[0])

        flat_args = keras.tree.flatten(args)
        shapes = [(None, *array.shape[1:]) if id(array) in varying else array.shape for array in flat_args]
        given = [tf.TensorSpec(shape, array.dtype) for shape, array in zip(shapes, flat_args, strict=True)]
        function = tf.function(flat, autograph=False).get_concrete_function(*given)
        shape = keras.tree.map_structure(lambda _: 0, outputs[0])
        return _Traced(function, [tensor.dtype for tensor in function.outputs], shape)


def _tensor(array: Any) -> Any:
    """An array as a tensor: in place where that may be, as nothing that a function is given is changed."""
    large = isinstance(array, np.ndarray) and array.dtype == np.float32 and array.nbytes >= _LARGE
    if large and array.ctypes.data % ALIGNMENT == 0 and array.flags.carray:  # numpy lends none that is read-only
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def _inline(function: Any, dtypes: list[Any], tensors: list[Any]) -> list[Any]:
    return tf.raw_ops.StatefulPartitionedCall(
        args=[*tensors, *function.captured_inputs],
        Tout=dtypes,
        f=function,
        config_proto=runtime.as_traced(),
        executor_type=runtime.INLINE,
    )
