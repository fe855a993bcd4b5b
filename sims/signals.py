"""What Ctrl-C, SIGTERM and a terminal that goes away do to a command."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGTERM and SIGHUP do as Ctrl-C does, so that a command ends in order; nohup's SIGHUP stays ignored.

    A SIGINT that is ignored stays so, too: shells have it so for what they start in the background, lest a Ctrl-C that
    is for another command ends it.
    """

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    heard = [number for number in _ENDING[1:] if signal.getsignal(number) is not signal.SIG_IGN]
    with _handled(heard, interrupt):
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no second Ctrl-C or signal stop what ends processes; it must be short."""
    with _handled(_ENDING, signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handled(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None] | signal.Handlers
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
