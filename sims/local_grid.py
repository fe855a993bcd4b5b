"""Flower's Grid in this process: clients are called directly, on threads, and nothing is serialised.

The one module that touches Flower's internals: messages can't be made outside a Flower task, and a Grid's type needs
``Run`` and ``NodeInfo``.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedkd.base import runtime
from fedkd.base.errors import RunError

_RUN_ID = 1
_SERVER_NODE = 1
# Flower's error code for a client app that raised.
_CLIENT_APP_RAISED = 2


class LocalGrid(Grid):
    """A federation whose nodes are calls of one ClientApp.

    Args:
        client_app: The app of every node.
        partitions: Node of each partition. The server reads it here instead of asking every node who it is.
        context: Makes a node's context, anew for each message: nodes that aren't called cost nothing.
        threads: Clients trained side by side. Which client runs on which thread can't change a result: clients share
            no state, and the server orders their answers.
    """

    def __init__(
        self, client_app: ClientApp, partitions: Mapping[int, int], context: Callable[[int], Context], threads: int
    ) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = _RUN_ID, _SERVER_NODE, 1
        self.partitions = partitions
        self._client_app, self._context, self._threads = client_app, context, threads
        # The same threads in all rounds: TensorFlow keeps what it has prepared of its kernels by thread.
        self._pool = ThreadPoolExecutor(threads)
        self._calls: dict[str, Future[tuple[Message, float]]] = {}
        self._ids = (f"message-{i}" for i in itertools.count())
        self._run = Run.create_empty(run_id=_RUN_ID)

    def set_run(self, run: Run) -> None:
        """Take the description of another run."""
        self._run = run

    @property
    def run(self) -> Run:
        """Description of the run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message of this run."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Ids of all nodes; they are there from the start."""
        return self.partitions.values()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have the clients run; returns the ids to pull their replies by."""
        messages = list(messages)
        for message in messages:
            message.metadata.__dict__["_message_id"] = next(self._ids)
        self._calls |= {m.metadata.message_id: self._pool.submit(self._call, m) for m in messages}
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Wait for the replies to some messages and hand them out, once."""
        return [self._calls.pop(i).result()[0] for i in message_ids if i in self._calls]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Run the clients and hand out their replies, in the order of the messages, each as soon as it is there.

        Each client counts as a machine of its own: the reply of one that took more than ``timeout`` seconds, not
        counting its wait for a thread, is dropped. It is waited for all the same, as a thread can't be stopped, so
        that none still runs in the next round. Which replies come then doesn't depend on the number of threads.
        Who doesn't take all of them has to ``close`` the grid.
        """
        ids = self.push_messages(messages)
        replies = (self._calls.pop(i).result() for i in ids)
        return (reply for reply, seconds in replies if timeout is None or seconds <= timeout)

    def close(self) -> None:
        """Wait for the clients that run; those that don't yet never will."""
        self._pool.shutdown(cancel_futures=True)

    def _call(self, message: Message) -> tuple[Message, float]:
        """Run one client and return its reply and the seconds it took."""
        started = time.monotonic()
        return self._reply(message), time.monotonic() - started

    def _reply(self, message: Message) -> Message:
        """Run one client; what it raises becomes an error reply, as on a real node.

        But where this machine's disk is full, which is the disk of all clients, the run ends.
        """
        try:
            with runtime.inline_operations() if self._threads > 1 else nullcontext():
                return self._client_app(message, self._context(message.metadata.dst_node_id))
        except RunError:
            raise
        except Exception as error:
            return Message(Error(_CLIENT_APP_RAISED, f"{type(error).__name__}: {error}"), reply_to=message)
