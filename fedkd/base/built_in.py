"""Whether what is traced must be made of operations that LiteRT has built in."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_only = ContextVar("built_in_only", default=False)


def built_in_only() -> bool:
    """Return whether it must, for functions that have a faster way otherwise."""
    return _only.get()


@contextmanager
def tracing_built_in() -> Iterator[None]:
    """While it holds, what this thread traces must."""
    before = _only.set(True)
    try:
        yield
    finally:
        _only.reset(before)
