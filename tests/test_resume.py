"""Laws of runs that stop and go on."""

import json
import re
from unittest.mock import ANY

import keras
import pytest
from rich.console import Console
from typer.testing import CliRunner

import server.device_files
from clients.node.state_file import StateFile
from clients.node.state_folder import StateFolder
from fedkd.base.errors import InputError, RunError
from fedkd.base.tensors import digest
from fedkd.config.settings import read_toml
from fedkd.protocol.federation import new_client
from fedkd.protocol.resolve import experiment_of
from fedkd.results.folder_lock import alone
from fedkd.results.round import Round
from fedkd.results.run_folder import RunFolder
from fedkd.results.summary import Summary
from server.checkpoint import Checkpoint
from sims.cli import app
from sims.run import resume, run

# Error feedback on both sides, partial participation, and finishing rounds with a model of other tensors.
SETTINGS = {
    "task": "tests.tiny:task",
    "method": "fedkd_plus",
    "clients": 4,
    "rounds": 3,
    "fraction": 0.6,
    "train.epochs": 1,
    "edge.finish_rounds": 2,
    "edge.qat": True,
    "edge.precisions": "none",
}
QUIET = Console(quiet=True)
TIMES = ("seconds", "elapsed")


def start(folder, keep=False):
    return run(SETTINGS, "local", folder, False, keep, QUIET)


def go_on(folder):
    return resume(folder, "local", QUIET, trust=True)


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
    for line in lines:  # Keras numbers the layers of a process
        line["ranks"] = list(line["ranks"].values())
        line["clients"].pop("seconds")
    experiment = experiment_of(read_toml(folder / "config.toml"))
    server = Checkpoint(folder / "checkpoint", experiment.fingerprint).load()
    state = server.state
    told = [
        digest(state.shared),
        {group: digest(arrays) for group, arrays in state.transforms.items()},
        digest(server.trained),
        state.update,
        state.steps,
        state.removed_channels,
    ]
    told += [sorted(server.known_rounds.items()), sorted(server.quality.items())]
    clients = [states_of(folder, experiment, state, partition) for partition in range(experiment.config.clients)]
    student = digest(keras.models.load_model(folder / "student.keras").get_weights())
    made = [json.loads((folder / "summary.json").read_text())[key] for key in ("edge", "shared_sha256", "traffic")]
    return {"history": lines, "server": told, "clients": clients, "student": student, "summary": made}


def states_of(folder, experiment, state, partition):
    """A client's last two states, before the finishing rounds and in them."""
    run, found = f"{state.run}:{experiment.fingerprint}", []
    finishing, last = experiment.at(state.round, state.removed_channels), state.round
    for stage, name in ((experiment, "clients.state"), (finishing, "clients.state.finishing")):
        vault = StateFile(folder / name, run, partition, new_client(stage.local(partition)))
        if (folder / "clients").exists():
            vault = StateFolder(folder / "clients" / f"client-{partition}", run)
        for before in (None, last, last - 1):
            held = vault.load(before)
            found.append(held and (held.round, digest(held.base), {k: digest(v) for k, v in held.local.items()}))
    return found


class Crash(Exception):
    """Stands in for kill -9, but leaves the test alive."""


def crash(place, round_, begin, *arguments):
    """Have a run die at a place in a round."""
    of, name = {
        "before the history": (RunFolder, "append"),
        "before the checkpoint": (Checkpoint, "save"),
        "after the checkpoint": (Checkpoint, "save"),
        "while files are made": (server.device_files, "to_device"),
    }[place]
    real = getattr(of, name)

    def dying(*arguments):
        record = arguments[-1]
        if place == "while files are made":
            raise Crash
        reached = record.number if isinstance(record, Round) else record.state.round
        if place == "after the checkpoint" or reached != round_:
            real(*arguments)
        if reached == round_:
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, name, dying)
        with pytest.raises(Crash):
            begin(*arguments)


@pytest.mark.parametrize(
    "place, round_",
    [
        pytest.param("before the history", 1, marks=pytest.mark.faults),  # only the clients' states are on disk
        ("before the checkpoint", 2),
        pytest.param("before the history", 3, marks=pytest.mark.faults),
        pytest.param("after the checkpoint", 3, marks=pytest.mark.faults),
        ("before the checkpoint", 4),  # the first round of another model
        pytest.param("while files are made", 5, marks=pytest.mark.faults),
    ],
)
def test_a_run_that_died_ends_as_if_it_never_had(uninterrupted, tmp_path, place, round_):
    crash(place, round_, start, tmp_path / "run")
    assert everything(go_on(tmp_path / "run")) == uninterrupted


@pytest.mark.faults
def test_a_run_may_die_again_and_again_with_clients_in_folders_of_their_own(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    crash("before the checkpoint", 1, start, folder, True)
    for place, round_ in (("before the history", 1), ("before the checkpoint", 4), ("before the history", 4)):
        crash(place, round_, go_on, folder)
    assert {**everything(go_on(folder)), "clients": ANY} == {**uninterrupted, "clients": ANY}


def test_a_damaged_checkpoint_costs_a_round_and_without_any_the_run_is_left_as_it_is(tmp_path, caplog):
    folder = tmp_path / "run"
    crash("after the checkpoint", 3, start, folder)
    newest, before = (folder / "checkpoint" / f"round-{round_}.safetensors" for round_ in (3, 2))
    newest.write_bytes(newest.read_bytes()[:-1])
    crash("before the history", 4, go_on, folder)
    assert "round-3.safetensors counts as none: its SHA-256 is not the one it claims" in caplog.text
    assert rounds(folder) == [1, 2, 3]
    for path in (newest, before):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint is whole"):
        go_on(folder)
    assert rounds(folder) == [1, 2, 3]


def rounds(folder):
    return [json.loads(line)["round"] for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.mark.faults
def test_a_full_disk_ends_the_run_in_one_line_and_it_goes_on_when_there_is_room(uninterrupted, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("fedkd.base.files.os.fsync", full_after(12))
        with pytest.raises(RunError, match=r"can't be written \(No space left on device\)"):
            start(tmp_path / "run")
    assert everything(go_on(tmp_path / "run")) == uninterrupted


def full_after(calls):
    """Stands in for os.fsync on a disk that has no room for the last of some calls."""
    left = iter(range(calls))

    def fsync(_):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")

    return fsync


def test_what_cant_go_on_is_refused_in_one_line(tmp_path):
    def refused(*arguments):
        done = CliRunner().invoke(app, ["run", *map(str, arguments)])
        assert done.exit_code == 2, done.output
        return re.sub(r"\s+", " ", done.stderr)

    assert "no run that could go on" in refused("--resume", tmp_path / "nowhere")
    assert "no run that could go on" in refused("--resume", tmp_path)
    folder = tmp_path / "run"
    written = RunFolder.create(folder, experiment_of(SETTINGS).config, False)
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "round-1.safetensors").touch()
    assert "the clients' states aren't here" in refused("--trust", "--resume", folder)
    (folder / "clients.state").touch()
    assert "engine must be local, got 'ray'" in refused("--trust", "--resume", folder, "--engine", "ray")
    with alone(folder):
        assert "another process runs this" in refused("--trust", "--resume", folder)
        assert "another process runs this" in refused("--task", "tests.tiny:task", "--out", folder, "--overwrite")
    written.write_summary(Summary())
    (folder / "checkpoint" / "round-1.safetensors").unlink()
    assert "this run has finished" in refused("--trust", "--resume", folder)
    assert f"or `fedkd run --resume {folder} --trust`" in refused("--task", "tests.tiny:task", "--out", folder)
    assert "drop 'seed'" in refused("--trust", "--resume", folder, "--seed", "5")
    assert "--from-round takes --resume RUN" in refused("--from-round", "5")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fetchsgd", "scaffold", "feddropout"])
def test_what_baselines_keep_outlives_the_process(tmp_path, method):
    """Sketches of momentum and errors on the server, control variates on both sides, the units of a round."""
    settings = SETTINGS | {"method": method, "edge.qat": False}
    run(settings, "local", tmp_path / "whole", False, False, QUIET)
    crash("before the checkpoint", 3, run, settings, "local", tmp_path / "run", False, False, QUIET)
    assert everything(go_on(tmp_path / "run")) == everything(tmp_path / "whole")
