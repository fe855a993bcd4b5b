"""One round of a client in a process of its own, from files alone: what ran here can run on an emulated device."""

import base64
import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clients.node.state_folder import StateFolder
from fedkd.base import runtime
from fedkd.base.errors import InputError, RunError
from fedkd.base.memory import peak_memory
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Weights, digest
from fedkd.config.config import Scalar
from fedkd.data.dataset import Dataset
from fedkd.edge.child import answer_for, raise_refused, run_module
from fedkd.edge.emulated import Pi4
from fedkd.protocol.federation import client_round, follow, new_client
from fedkd.protocol.local import content_of
from fedkd.protocol.messages import offer_fields, read_offer
from fedkd.protocol.node_experiment import NodeExperiment, about
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import experiment_of
from fedkd.protocol.rules import Rules
from fedkd.protocol.state import Offer
from fedkd.tasks.own import read_own, write_own

_RUN = "emulated"
_PARTITION = 0
_SETTINGS, _OFFER, _STATE, _UPDATE, _RESULT = "settings.json", "offer.json", "state", "update.bin", "result.json"
_FILE, _OWN = "training.tflite", "own.npz"


@dataclass(frozen=True)
class ClientPi4(Pi4):
    """An emulated Raspberry Pi 4 with all that a client takes, as ``python -m sims.emulate.setup --client`` sets up."""

    @property
    def packages(self) -> Path:
        """The device's Python packages: TensorFlow in the version of this machine, and the rest."""
        return self.home / f"client-{version('tensorflow')}"


@dataclass(frozen=True)
class NodePi4(Pi4):
    """An emulated Raspberry Pi 4 with all that ``fedkd-node`` takes: ``python -m sims.emulate.setup --node``."""

    @property
    def packages(self) -> Path:
        """The device's Python packages: LiteRT in the version of this machine, and the rest; no TensorFlow."""
        return self.home / f"node-{version('ai-edge-litert')}"


class Played(NamedTuple):
    """What a machine made of a round.

    Args:
        initial: Digest of the student before the first round, which follows from the seed.
        base: Digest of the base of the round, as the machine decoded it.
        announced: Digest of the base that the server announced.
        update: The client's update, as this machine decodes it.
        decoded: Digest of the client's update, as the client's machine decodes it.
        losses: Mean losses of the training.
        memory: Peak resident memory of the process, bytes; of the emulator too, where there is one.
    """

    initial: str
    base: str
    announced: str
    update: Weights
    decoded: str
    losses: dict[str, float]
    memory: int


def prepare(folder: Path, settings: dict[str, Scalar], by_file: bool = False) -> None:
    """Play a first round here, and write what a client gets and keeps in the second.

    Args:
        folder: The folder to make.
        settings: The experiment's, by dotted keys.
        by_file: Whether the client has no TensorFlow: then its training file and its own examples are written, too.
    """
    runtime.configure()
    settings = {**settings, "train.engine": "litert" if by_file else "tensorflow"}
    experiment = experiment_of(settings)
    folder.mkdir(parents=True)
    federation = Federation(experiment, _RUN)
    federation.round([_PARTITION])
    federation.begin()
    offer = federation.offer(federation.known_rounds[_PARTITION])
    if offer.dense:
        raise RunError("the second round's step is larger than the model, so it shows nothing of decoding")
    _vault(folder).save(federation.clients[_PARTITION])
    (folder / _SETTINGS).write_text(json.dumps(settings))
    if by_file:
        (folder / _FILE).write_bytes(content_of(experiment, "", about(experiment, experiment, "")))
        write_own(folder / _OWN, experiment.task.train.take(experiment.rows[_PARTITION]))
    (folder / _OFFER).write_text(json.dumps(offer_fields(offer), default=_text))


def play(folder: Path, device: Pi4 | None = None) -> Played:
    """Play the round of a prepared folder, in a process of its own.

    Args:
        folder: The one that ``prepare`` wrote; the client's state goes on in it.
        device: None for this machine.

    Raises:
        InputError: The device isn't set up.
        RunError: The process died.
    """
    work = str(folder.absolute())
    done = device.run("-m", __name__, work) if device else run_module(__name__, work)
    raise_refused(done)
    if done.returncode:
        raise RunError(f"the client's process died with code {done.returncode}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads((folder / _RESULT).read_text())
    experiment = experiment_of(json.loads((folder / _SETTINGS).read_text()))
    update = experiment.received((folder / _UPDATE).read_bytes(), _read(folder / _OFFER).round).tensors
    return Played(**found, update=update)


def main(work: str) -> None:
    """In the client's process: what ``clients.node.app`` does with a message."""
    import clients.node.app  # noqa: F401  -- Flower, which every client's process holds in memory too

    folder = Path(work)
    experiment, own = _known(folder)
    offer = _read(folder / _OFFER)
    state = _vault(folder).load(offer.round)
    base = follow(state, offer, experiment) if state else None
    if state is None or base is None:
        raise InputError("this machine can't follow the offer: it decodes another student than the server")
    data, _ = experiment.client_data(_PARTITION, own)
    rng = generator(experiment.config.seed, Purpose.TRAINING, offer.round, _PARTITION)
    after, upload = client_round(state, base, offer, data, experiment.local(_PARTITION), rng)
    _vault(folder).save(after)
    (folder / _UPDATE).write_bytes(upload.blob)
    found = {
        "initial": digest(new_client(experiment.local(_PARTITION)).base),
        "base": digest(base),
        "announced": offer.base,
        "decoded": digest(experiment.received(upload.blob, offer.round).tensors),
        "losses": dict(upload.losses),
        "memory": peak_memory(),
    }
    (folder / _RESULT).write_text(json.dumps(found))


def _known(folder: Path) -> tuple[Rules, Dataset | None]:
    """The experiment as the client knows it, and its own examples where the experiment doesn't deal them."""
    if (folder / _FILE).exists():
        runtime.one_thread()
        known = NodeExperiment(folder / _FILE)
        return known, read_own(folder / _OWN, known.task)
    runtime.configure()
    return experiment_of(json.loads((folder / _SETTINGS).read_text())), None


def likeness(one: Weights, other: Weights) -> tuple[float, float]:
    """Cosine of two updates, and the norm of their difference as a share of the first one's."""
    a, b = (np.concatenate([t.astype(np.float64).ravel() for t in update]) for update in (one, other))
    size = np.linalg.norm(a)
    return float(a @ b / (size * np.linalg.norm(b))), float(np.linalg.norm(a - b) / size)


def _vault(folder: Path) -> StateFolder:
    return StateFolder(folder / _STATE, _RUN)


def _text(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def _read(path: Path) -> Offer:
    fields = json.loads(path.read_text())
    return read_offer({**fields, "steps": base64.b64decode(fields["steps"]), "dense": b"", "training": b""})


if __name__ == "__main__":
    answer_for(main, *sys.argv[1:])
