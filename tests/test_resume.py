"""Laws of runs that stop and go on."""

import json
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

import server.app
from clients.pool import PooledVault
from clients.vault import Vault
from fedkd.errors import InputError, RunError
from fedkd.experiment import experiment_of
from fedkd.federation import new_client
from fedkd.finishing import at
from fedkd.settings import read_toml
from fedkd.tensors import digest
from server.checkpoint import Checkpoint
from server.run_folder import RunFolder
from sims.cli import app
from sims.run import resume, run

# Error feedback on both sides, partial participation, and finishing rounds with a model of other shapes.
SETTINGS = {
    "task": "tests.tiny:task",
    "method": "fedkd_plus",
    "clients": 4,
    "rounds": 3,
    "fraction": 0.6,
    "train.epochs": 1,
    "edge.finish_rounds": 2,
    "edge.channels": 0.3,
    "edge.precisions": "float32",
}
QUIET = Console(quiet=True)
TIMES = ("seconds", "elapsed")


def start(folder, keep=False):
    return run(SETTINGS, "local", folder, False, keep, QUIET)


@pytest.fixture(scope="module", autouse=True)
def nothing_goes():
    """At their end runs keep what they would need to go on, to be looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "finish", lambda _: None)
        patch.setattr("sims.run._forget_clients", lambda _: None)
        yield


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return everything(start(tmp_path_factory.mktemp("whole") / "run"))


def everything(folder):
    """Digests of all a run leaves behind: history, files, and every state of server and clients."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    lines = [{key: value for key, value in line.items() if key not in TIMES} for line in history]
    experiment = experiment_of(read_toml(folder / "config.toml"))
    server = Checkpoint(folder / "checkpoint", experiment.fingerprint).load()
    state = server.state
    told = [digest(state.shared), digest(state.residual), digest(server.trained), state.update, state.steps, state.gone]
    told += [sorted(server.held.items()), sorted(server.quality.items())]
    clients = [states_of(folder, experiment, state, partition) for partition in range(4)]
    files = [(folder / name).read_bytes() for name in ("student_float32.tflite", "config.toml")]
    return {"history": lines, "server": told, "clients": clients, "files": files}


def states_of(folder, experiment, state, partition):
    """A client's last two states, before the finishing rounds and in them."""
    run, found = f"{state.run}:{experiment.fingerprint}", []
    for stage, name in ((experiment, "clients.state"), (at(experiment, 5, state.gone), "clients.state.finishing")):
        vault = PooledVault(folder / name, run, partition, new_client(stage))
        if (folder / "clients").exists():
            vault = Vault(folder / "clients" / f"client-{partition}", run)
        for before in (None, 5, 4):
            held = vault.load(before)
            found.append(held and (held.round, digest(held.base), {k: digest(v) for k, v in held.local.items()}))
    return found


class Crash(Exception):
    """Stands in for kill -9, but leaves the test alive."""


def crash_at(patch, place, round_):
    """Have the next run die at a place in a round."""
    of, name = {
        "before the history": (RunFolder, "append"),
        "before the checkpoint": (Checkpoint, "save"),
        "after the checkpoint": (Checkpoint, "save"),
        "while files are made": (server.app, "to_device"),
    }[place]
    real = getattr(of, name)

    def dying(*arguments):
        record = arguments[-1]
        if place == "while files are made":
            raise Crash
        reached = record["round"] if isinstance(record, dict) else record.state.round
        if place == "after the checkpoint" or reached != round_:
            real(*arguments)
        if reached == round_:
            raise Crash

    patch.setattr(of, name, dying)


@pytest.mark.parametrize(
    "place, round_",
    [
        ("before the history", 1),  # nothing but the clients' states is on disk
        ("before the history", 3),
        ("before the checkpoint", 2),
        ("after the checkpoint", 3),
        ("before the checkpoint", 4),  # the first round of another model
        ("while files are made", 5),
    ],
)
def test_a_run_that_died_ends_as_if_it_never_had(uninterrupted, tmp_path, monkeypatch, place, round_):
    with monkeypatch.context() as patch, pytest.raises(Crash):
        crash_at(patch, place, round_)
        start(tmp_path / "run")
    assert everything(resume(tmp_path / "run", "local", QUIET)) == uninterrupted


def test_a_run_may_die_again_and_again_with_clients_in_folders_of_their_own(uninterrupted, tmp_path, monkeypatch):
    for begin, place, round_ in (
        (lambda: start(tmp_path / "run", keep=True), "before the checkpoint", 1),
        (lambda: resume(tmp_path / "run", "local", QUIET), "before the history", 1),
        (lambda: resume(tmp_path / "run", "local", QUIET), "before the checkpoint", 4),
        (lambda: resume(tmp_path / "run", "local", QUIET), "before the history", 4),
    ):
        with monkeypatch.context() as patch, pytest.raises(Crash):
            crash_at(patch, place, round_)
            begin()
    found = everything(resume(tmp_path / "run", "local", QUIET))
    assert {key: found[key] for key in ("history", "server", "files")} == {
        key: uninterrupted[key] for key in ("history", "server", "files")
    }


def test_a_damaged_checkpoint_costs_a_round_and_no_checkpoint_is_an_error(uninterrupted, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch, pytest.raises(Crash):
        crash_at(patch, "after the checkpoint", 3)
        start(tmp_path / "run")
    newest, before = (tmp_path / "run" / "checkpoint" / f"round-{round_}.safetensors" for round_ in (3, 2))
    newest.write_bytes(newest.read_bytes()[:-1])
    with monkeypatch.context() as patch, pytest.raises(Crash):
        crash_at(patch, "before the history", 4)
        resume(tmp_path / "run", "local", QUIET)
    assert "round-3.safetensors counts as none: its SHA-256 is not the one it claims" in caplog.text
    assert [line["round"] for line in everything_of_history(tmp_path / "run")] == [1, 2, 3]
    for path in (newest, before):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint is whole"):
        resume(tmp_path / "run", "local", QUIET)
    assert [line["round"] for line in everything_of_history(tmp_path / "run")] == [1, 2, 3]


def everything_of_history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_a_full_disk_ends_the_run_in_one_line_and_it_goes_on_when_there_is_room(uninterrupted, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("fedkd.files.os.fsync", full_after(12))
        with pytest.raises(RunError, match=r"can't be written \(No space left on device\)"):
            start(tmp_path / "run")
    assert everything(resume(tmp_path / "run", "local", QUIET)) == uninterrupted


def full_after(calls):
    """Stands in for os.fsync on a disk that has no room for the last of some calls."""
    left = iter(range(calls))

    def fsync(_):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")

    return fsync


def test_what_cant_go_on_is_refused_in_one_line(tmp_path, monkeypatch):
    def refused(*arguments):
        done = CliRunner().invoke(app, ["run", *map(str, arguments)])
        assert done.exit_code == 2, done.output
        return re.sub(r"\s+", " ", done.stderr)

    assert "no run that could go on" in refused("--resume", tmp_path / "nowhere")
    assert "no run that could go on" in refused("--resume", tmp_path)
    folder = tmp_path / "run"
    RunFolder.create(folder, experiment_of(SETTINGS).config, False).write_summary({"edge": []})
    assert "this run has finished" in refused("--resume", folder)
    assert "--resume takes the run's own settings: drop 'rounds'" in refused("--resume", folder, "--rounds", "5")
