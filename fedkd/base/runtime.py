"""Settings of the process that exact and quiet runs depend on; to be called before TensorFlow is used."""

import functools
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fedkd.base.stderr import suppress_stderr

_lock = threading.Lock()
_of_thread = threading.local()
INLINE = "SINGLE_THREADED_EXECUTOR"  # TensorFlow's name of what runs all operations on the thread that asks


def configure() -> None:
    """Start TensorFlow without its log lines, with one thread per operation; later calls in a process do nothing.

    The number of threads inside an operation changes the last bits of its result, so it is fixed; the cores are used
    by clients side by side. BLAS (for the SVD) gets one thread for the same reason.
    """
    with _lock:
        _configure_once()


@functools.cache
def _configure_once() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Else the weight gradient of a convolution is prepared anew at every call.
    os.environ.setdefault("TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE", "false")
    with suppress_stderr():
        import tensorflow as tf

        if tf.config.threading.get_intra_op_parallelism_threads() != 1:
            tf.config.threading.set_intra_op_parallelism_threads(1)
        # Its memory pass turns sums of gradients into temporary variables whose names clash when one compiled
        # function runs on two threads: AlreadyExistsError, and a client is lost.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        tf.constant(0)  # starts the runtime here, where it is silent
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    one_thread()


@functools.cache
def one_thread() -> None:
    """Have BLAS use one thread: their number changes the last bits of a product."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)


@functools.cache
def as_traced() -> bytes:
    """What ``_configure_once`` tells TensorFlow of graphs, for a function that is called as an operation."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return bytes(config.SerializeToString())


@contextmanager
def inline_operations() -> Iterator[None]:
    """While it holds, compiled functions called by this thread run on this thread alone.

    For threads that work side by side: a pool of TensorFlow's between them only adds switches.
    """
    import tensorflow as tf

    before = inline()
    _of_thread.inline = True
    try:
        with tf.experimental.function_executor_type(INLINE):
            yield
    finally:
        _of_thread.inline = before


def inline() -> bool:
    """Whether ``inline_operations`` holds in this thread."""
    return getattr(_of_thread, "inline", False)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
