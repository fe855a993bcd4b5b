"""Flower's commands, as processes of their own: its modules behind them are not for others to import."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fedkd.base.errors import RunError
from fedkd.base.python import import_path
from fedkd.base.user_code import FOLDER

_BIN = Path(sys.executable).parent
_SECONDS = 120.0
# Seconds between two questions after the state of a run, and where it is likely to have ended.
_EVERY, _SOON = 20.0, 1.0
# Seconds in which it needn't answer.
_SILENCE = 120.0
_ADDRESS = re.compile(r"^Using SuperLink: \S+ \((.+)\)", re.MULTILINE)

# No look for updates, no usage statistics, no `uv sync` for each run.
_QUIET = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
}


@dataclass(frozen=True)
class Node:
    """A node as the SuperLink knows it.

    Args:
        id: Flower's, which the SuperLink gave its key.
        status: ``online``, ``offline``, or ``registered`` where it was never online.
        since: When it went online, or offline; in seconds since 1970, None where it was never online.
    """

    id: str
    status: str
    since: float | None = None


@dataclass(frozen=True)
class Run:
    """A run as the SuperLink knows it.

    Args:
        id: Flower's.
        status: ``pending``, ``starting``, ``running``, ``finished:completed``, ``finished:failed`` or
            ``finished:stopped``.
    """

    id: str
    status: str

    @property
    def finished(self) -> bool:
        """Whether it has ended, however it did."""
        return self.status.startswith("finished")


def environment(home: Path) -> dict[str, str]:
    """Environment for Flower's commands: they find one another, and this process's modules.

    Not those of the current folder: the user's own there are found by ``fedkd.base.user_code``, where nothing else is.

    Args:
        home: Flower's folder, with its ``config.toml`` and the apps it unpacks.
    """
    return {
        **os.environ,
        **_QUIET,
        "FLWR_HOME": str(home),
        "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": import_path(),
        "PYTHONSAFEPATH": "1",
        FOLDER: os.getcwd(),
    }


def flwr(env: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """Run a command of Flower's that answers in JSON.

    Raises:
        RunError: It failed, or said something else.
    """
    done = _ask(env, *arguments, "--format", "json")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        said = (done.stdout + done.stderr).split()
        raise RunError(f"flwr {arguments[0]}: {' '.join(said) or f'exit code {done.returncode}'}") from None
    if not answer.get("success"):
        raise RunError(f"flwr {arguments[0]}: {why_of(str(answer.get('error-message', answer)))}")
    return dict(answer)


def why_of(message: str) -> str:
    """What Flower says of an error in one line, without what it said before.

    >>> why_of("Using SuperLink: fedkd (127.0.0.1:8001)\\n Stopping run ID 17...\\n\\n[code: 16] Run ID not found.")
    '[code: 16] Run ID not found.'
    """
    text = " ".join(message.rpartition("\n\n")[2].split())
    address = _ADDRESS.search(message)
    if address and "Connection to the SuperLink is unavailable" in text:
        return f"no SuperLink answers at {address[1]}; is its start.sh running?"
    return text


def register(env: Mapping[str, str], public_key: Path) -> int:
    """Make a node's key known to the SuperLink; returns the id it gave the node."""
    return int(flwr(env, "supernode", "register", str(public_key))["node-id"])


def start(env: Mapping[str, str], app: Path) -> str:
    """Start a run of an app folder and return the run's id."""
    return str(flwr(env, "run", str(app))["run-id"])


def nodes(env: Mapping[str, str]) -> list[Node]:
    """The nodes whose keys are registered."""
    return read_nodes(flwr(env, "supernode", "list"))


def read_nodes(answer: Mapping[str, Any]) -> list[Node]:
    """Nodes of an answer to `flwr supernode list`, but those that were unregistered.

    Raises:
        RunError: It has another form than Flower's answers had.
    """
    with _understood("supernode list"):
        rows = [row for row in answer["nodes"] if row["status"] != "unregistered"]
        when = {"online": "online-at", "offline": "offline-at", "registered": ""}
        return [Node(row["node-id"], row["status"], _seconds(row.get(when[row["status"]], "N/A"))) for row in rows]


def runs(env: Mapping[str, str]) -> list[Run]:
    """All runs, the newest first."""
    return read_runs(flwr(env, "ls"))


def read_runs(answer: Mapping[str, Any]) -> list[Run]:
    """Runs of an answer to `flwr ls`, the newest first.

    Raises:
        RunError: It has another form than Flower's answers had.
    """
    with _understood("ls"):
        rows = sorted(answer["runs"], key=lambda row: row["pending-at"], reverse=True)
        return [Run(row["run-id"], row["status"]) for row in rows]


def status(env: Mapping[str, str], run: str) -> str:
    """State of a run, see ``Run.status``."""
    return read_runs(flwr(env, "ls", "--run-id", run))[0].status


def stop(env: Mapping[str, str], run: str) -> None:
    """Stop a run; its ServerApp ends some seconds later."""
    flwr(env, "stop", run)


def log_of(env: Mapping[str, str], run: str) -> str:
    """What the ServerApp of a run has logged; empty where Flower doesn't say."""
    try:
        return _ask(env, "log", run, "--show").stdout
    except RunError:
        return ""


def wait_until_finished(
    env: Mapping[str, str], run: str, look: Callable[[], bool], heard: Callable[[str], None] | None = None
) -> str:
    """Wait for the end of a run and return its state.

    Args:
        env: See ``environment``.
        run: Its id.
        look: Called repeatedly; True where the run may well have ended, so that Flower is asked soon. Each question
            takes a process of its own and a second or more of a core. Raises where what the run needs has died.
        heard: Called with each state that Flower answers before the last.

    Raises:
        RunError: The SuperLink doesn't answer, for two minutes.
    """
    answered = time.monotonic()
    while True:
        try:
            if (state := status(env, run)).startswith("finished"):
                return state
            answered = time.monotonic()
            if heard:
                heard(state)
        except RunError:
            if time.monotonic() - answered > _SILENCE:
                raise  # a SuperLink that was killed may come back, and its runs with it
        end = time.monotonic() + _EVERY
        while time.monotonic() < end:
            time.sleep(0.25)
            if look():
                end = min(end, time.monotonic() + _SOON)


@contextmanager
def _understood(command: str) -> Iterator[None]:
    """Say which answer of Flower's has another form than is known here."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"flwr {command}: its answer isn't understood ({error!r}); is it the Flower that fedkd asks for?"
        ) from None


def _seconds(text: str) -> float | None:
    """Seconds since 1970 of a time as Flower writes it, None of ``N/A``."""
    return None if text == "N/A" else datetime.fromisoformat(text).timestamp()


def _ask(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(_BIN / "flwr"), *arguments]
    try:
        return subprocess.run(command, env=dict(env), capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RunError(f"flwr {arguments[0]}: no answer within {_SECONDS:g} s") from None
    except FileNotFoundError:
        raise RunError(
            f"{command[0]}: no such command; run the fedkd of the environment that Flower is installed in"
        ) from None
