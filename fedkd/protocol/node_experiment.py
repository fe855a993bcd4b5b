"""An experiment as a node knows it that has its training file and no TensorFlow: neither the task's data nor builders.

The server writes into the file what ``about`` returns; a ``NodeExperiment`` is what a node reads from it.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Spec, TensorSpec, Weights
from fedkd.config.settings import build, to_settings
from fedkd.data.dataset import Dataset
from fedkd.distill.class_weights import weigher
from fedkd.distill.trainer import Augment
from fedkd.exchange.sub_model import Units
from fedkd.litert.opened import Opened
from fedkd.litert.trainer import LiteRTTrainer
from fedkd.objectives.objective import Objective
from fedkd.protocol.local import Local
from fedkd.protocol.rules import Rules, held_apart
from fedkd.protocol.run_cache import RunCache
from fedkd.protocol.stages import rounds_of
from fedkd.tasks.own import read_own
from fedkd.tasks.wanted import Wanted

if TYPE_CHECKING:
    from fedkd.protocol.experiment import Experiment

# Files that only the server reads, or whoever builds models.
_NO_FILES = {
    "data": "",
    "model.pretrained": "",
    "model.teacher_layers": 0,
    "model.student_layers": 0,
    "model.freeze": "",
    "model.teacher_weights": "",
    "model.student_weights": "",
    "edge.calibration_file": "",
}
_OWN_CODE = "fedkd."


def about(first: "Experiment", now: "Experiment", kind: str) -> dict[str, Any]:
    """Return what a training file says of its experiment, as a table for JSON.

    Args:
        first: The experiment of the first round.
        now: That of the rounds the file is for, see ``fedkd.protocol.stages``.
        kind: Of clients.

    Raises:
        InputError: The task has an objective or an augmentation of its own, which a node without it can't have.
    """
    augment = now.task.augment
    name = "" if augment is None else f"{augment.__module__}:{augment.__qualname__}"
    if name and not name.startswith(_OWN_CODE):
        raise InputError(f"task {first.config.task!r} augments by {name}, which a node without the task's code lacks")
    alone = replace(now.config, train=now.config.train_of(kind), classes=())
    unlabelled = {"train.unlabelled": "nodes"} if alone.train.without_labels else {}
    return {
        "settings": {**to_settings(alone), **_NO_FILES, **unlabelled, "task": now.task.name},
        "fingerprint": first.fingerprint,
        "stage": now.stage,
        "shared_sizes": dict(now.shared_sizes),
        "personal": sorted(now.personal),
        "kind": kind,
        "frozen": now.frozen,
        "units": now.units.to_json() if now.config.exchange.units < 1 else None,
        "spec": [asdict(item) for item in now.spec],
        "wanted": now.task.wanted.to_json(),
        "augment": name,
        "evaluation_interval": first.evaluation_interval,
    }


def check_said(experiment: "Experiment") -> None:
    """Refuse what no training file could say of the experiment, where its clients train by one.

    Args:
        experiment: Of the first round.

    Raises:
        InputError: See ``about``.
    """
    for local in experiment.locals():
        if experiment.config.train_of(local.kind).engine == "litert":
            about(experiment, experiment, local.kind)


@dataclass(frozen=True, eq=False)
class NodeTask:
    """What a node knows of the task.

    Args:
        wanted: How its own examples must look.
        test_file: Examples on which the node measures its teacher, as ``fedkd.tasks.own`` takes them; None for none.
    """

    wanted: Wanted
    test_file: Path | None

    @cached_property
    def test(self) -> Dataset | None:
        """The examples of the file.

        Raises:
            InputError: They aren't what the task wants.
        """
        return None if self.test_file is None else read_own(self.test_file, self)

    @property
    def objective(self) -> Objective:
        """What is learned."""
        return self.wanted.objective


class NodeExperiment(Rules):
    """What a training file makes of a node's part in an experiment.

    Args:
        file: The training file.
        test: See ``NodeTask``.

    Raises:
        InputError: It is none, or one for simulations, which know the rest.
    """

    def __init__(self, file: Path, test: Path | None = None) -> None:
        opened = Opened(file)
        self._about: Mapping[str, Any] = opened.record["about"] or {}
        if not self._about:
            raise InputError(f"{file}: says nothing of an experiment, so only a simulation can train by it")
        self.config, self.cache = build(self._about["settings"]), RunCache()
        self.task: NodeTask = NodeTask(Wanted.from_json(self._about["wanted"]), test)
        self.stage = str(self._about["stage"])
        augment, weigh = _augment(self._about["augment"]), weigher(self.config.train.class_weights, self.task.objective)
        trainer = LiteRTTrainer(opened, self.config.train.epochs, augment, weigh)
        self._local = Local(self, self._about["kind"], trainer)
        self._spec = tuple(TensorSpec(**{**item, "shape": tuple(item["shape"])}) for item in self._about["spec"])

    @property
    def fingerprint(self) -> str:
        """That of the experiment, from the server."""
        return str(self._about["fingerprint"])

    @property
    def spec(self) -> Spec:
        """Tensors of the shared model in the rounds the file is for."""
        return self._spec

    @property
    def frozen(self) -> str:
        """SHA-256 of what training doesn't change of the shared model, which is in the file."""
        return str(self._about["frozen"])

    @property
    def shared_sizes(self) -> Mapping[str, int]:
        """Numbers of tensors of the models that are shared, by role."""
        sizes: Mapping[str, int] = self._about["shared_sizes"]
        return sizes

    @cached_property
    def personal(self) -> frozenset[int]:
        """Places of the shared model's tensors that stay with each client."""
        return frozenset(self._about["personal"])

    @cached_property
    def units(self) -> Units:
        """Which units of the shared model a round may leave out."""
        return Units.from_json(self._about["units"])

    @property
    def evaluation_interval(self) -> int:
        """Rounds from one measurement of the teachers to the next."""
        return int(self._about["evaluation_interval"])

    def at(self, round_: int, removed_channels: Sequence[int]) -> "NodeExperiment | None":
        """Return itself where the file is for that round; other stages have files of their own."""
        return self if round_ in rounds_of(self) else None

    def begun(self, stage: str, removed_channels: Sequence[int], shared: Weights) -> None:
        """Return None: the server makes what a stage begins with, and sends it whole."""

    def local(self, client: int | None = None, said: str = "") -> Local:
        """Return what the experiment is to this node, whose file is that of its class."""
        return self._local

    def client_data(self, partition_id: int, own: Dataset | None = None) -> tuple[Dataset, Dataset]:
        """Return what a client trains on and what it holds out, see ``fedkd.protocol.experiment``.

        Raises:
            InputError: It has no examples of its own.
        """
        if own is None:
            raise InputError(f"client {partition_id}: a node without TensorFlow has its own examples: data=FILE.npz")
        rng = generator(self.config.seed, Purpose.HOLDOUT, partition_id)
        train, held_out = held_apart(own, np.arange(len(own)), self.config.train.holdout, rng)
        return replace(train, unlabelled=own.unlabelled if self.config.train.without_labels else None), held_out


def _augment(name: str) -> Augment | None:
    """The function that ``about`` named, which is fedkd's own."""
    if not name.startswith(_OWN_CODE):
        return None
    module, _, function = name.partition(":")
    found: Augment = getattr(importlib.import_module(module), function)
    return found
