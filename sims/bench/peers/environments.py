"""Virtual environments of the peers: made on demand with pip, kept for the next time."""

import hashlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fedkd.base.errors import RunError
from fedkd.base.python import python as this_python

_REQUIREMENTS = Path(__file__).parent / "requirements"


class PeerError(RunError):
    """A peer can't be installed or run, for the reason its one line gives."""


@dataclass(frozen=True)
class Peer:
    """A simulator to compare with.

    Args:
        name: Its name in tables and file names.
        summary: What it is, in a few words.
        requirements: File of pip's, in ``requirements/``.
        program: Script that does the work, in ``programs/``.
    """

    name: str
    summary: str
    requirements: str
    program: str


PEERS: tuple[Peer, ...] = (
    Peer("flower_quickstart", "Flower + Ray, a fresh Keras model and fit", "flower.txt", "flower_quickstart.py"),
    Peer("flower_actor", "Flower + Ray, model kept in the actor, fit", "flower.txt", "flower_actor.py"),
    Peer("pfl", "pfl-research 0.6 (torch)", "pfl.txt", "pfl_fedavg.py"),
    Peer("fedjax", "FedJAX 0.0.17 (jax 0.10)", "fedjax.txt", "fedjax_fedavg.py"),
)

# The same for the work ``text``, which no simulator can be given: a loop by hand.
TORCH_TEXT = Peer("torch", "torch and transformers, by hand", "torch_text.txt", "torch_text.py")


def environment(peer: Peer, folder: Path) -> Path:
    """The python of a peer's environment, which is made first where it is missing or was left half-made.

    Args:
        peer: Whose; peers with the same requirements share one.
        folder: Holds all environments.

    Raises:
        PeerError: It can't be made; pip's last line says why.
    """
    requirements = _REQUIREMENTS / peer.requirements
    home = folder.absolute() / f"{requirements.stem}-{_digest(requirements)}"
    ready, python = home / "ready", home / "bin" / "python"
    if not (ready.exists() and python.exists()):
        try:
            _make(home, python, requirements)
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)  # it may be gigabytes, of no use
            raise
        ready.touch()
    return python


def _digest(requirements: Path) -> str:
    text = requirements.read_text(encoding="utf-8") + platform.python_version()
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _make(home: Path, python: Path, requirements: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    _run(this_python("-m", "venv", str(home)), f"no virtual environment in {home}")
    options = ["--quiet", "--disable-pip-version-check", "--no-input"]
    pip = [str(python), "-P", "-m", "pip", "install", *options, "--requirement", str(requirements)]
    _run(pip, f"can't install {requirements.name}")


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise PeerError(f"{failure}: {last_line(done.stderr or done.stdout)}")


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
