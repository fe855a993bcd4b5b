"""The files by which clients without TensorFlow train: made once for each kind of them, and sent to who lacks one."""

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from fedkd.protocol.experiment import Experiment
from fedkd.protocol.local import content_of
from fedkd.protocol.messages import Answer
from fedkd.protocol.node_experiment import about
from fedkd.protocol.state import Offer
from server.kinds import Kinds


class _File(NamedTuple):
    sha256: str
    deflated: bytes


class TrainingFiles:
    """The training files of a run, and which client holds which.

    Args:
        experiment: Of the first round.
        kinds: Of its clients.
    """

    def __init__(self, experiment: Experiment, kinds: Kinds) -> None:
        self._first, self._kinds = experiment, kinds
        self._made: dict[tuple[str, str], _File] = {}
        self._held: dict[int, str] = {}

    def note(self, answers: Iterable[Answer]) -> None:
        """Remember which clients train by files, and what they hold."""
        self._held |= {answer.partition: file for answer in answers if (file := answer.training_file) is not None}

    def check(self, now: Experiment, partition: int) -> None:
        """Make the file of a client that trains by one, so that it is there.

        Raises:
            InputError: LiteRT lacks something the client's training needs, or the task something a node needs.
        """
        if partition in self._held:
            self._file(now, partition)

    def add(self, offer: Offer, now: Experiment, partition: int) -> Offer:
        """Return the offer with the name of the client's file where it trains by one, and the file where it lacks it.

        Args:
            offer: To a client.
            now: The experiment of its round.
            partition: Which client.

        Raises:
            InputError: See ``check``.
        """
        if (held := self._held.get(partition)) is None:
            return offer
        file = self._file(now, partition)
        self._held[partition] = file.sha256  # if it doesn't arrive, the client says so
        return replace(offer, training_file=file.sha256, training=b"" if held == file.sha256 else file.deflated)

    def _file(self, now: Experiment, partition: int) -> _File:
        kind = self._kinds.of(partition)
        key = (kind, now.stage)
        if key not in self._made:
            content = content_of(now, kind, about(self._first, now, kind))
            self._made[key] = _File(hashlib.sha256(content).hexdigest(), zlib.compress(content))
        return self._made[key]
