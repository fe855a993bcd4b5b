"""Processes that begin as copies of one that has imported what they need, which is most of what a small round takes."""

import gc
import json
import os
import signal
import socket
import traceback
from collections.abc import Callable, Sequence

_LONGEST = 1 << 16  # bytes of a copy's arguments
_BEGUN = b"begun"


class Template:
    """A process that is copied for each list of arguments it is sent, and ends with the process that sends them.

    Args:
        held: The socket to it.
    """

    def __init__(self, held: socket.socket) -> None:
        self._held = held

    def copy(self, arguments: Sequence[str]) -> bool:
        """Begin a copy, once the template is prepared; returns whether it has begun."""
        try:
            self._held.send(json.dumps(list(arguments)).encode())
            return self._held.recv(len(_BEGUN)) == _BEGUN
        except OSError:
            return False


def fork(prepare: Callable[[], None]) -> Template | list[str]:
    """Fork a template; returns here and, as fork does, in each copy as well. Linux alone; before any thread begins.

    Args:
        prepare: What the template does before its first copy: imports.

    Returns:
        The template, and in a copy the arguments that it was asked for with.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        return Template(ours)
    ours.close()
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it reaches whoever sends, too, which then ends
        prepare()
        gc.freeze()  # else a copy's collector writes to memory that it could share
        arguments = _wait(theirs)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    if arguments is None:
        os._exit(0)
    return arguments


def _wait(held: socket.socket) -> list[str] | None:
    """Make copies for as long as they are asked for; returns a copy's arguments in it, None in the template."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no copy is waited for
    while asked := held.recv(_LONGEST):
        if os.fork():
            held.send(_BEGUN)
        else:
            held.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return list(json.loads(asked))
    return None
