"""Laws of configurations that somebody else may have written: what they name doesn't run unasked."""

import sys

import pytest
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from fedkd.config.trust import trusted_settings
from sims.cli import app

NAMED = {
    "task": "mine:task", "exchange.up": "mine:code", "exchange.down": "mine:code", "train.optimizer": "mine:adam",
    "exchange.transforms": "clip=1.0 mine:noise=0.5", "partition.kind": "mine:deal",
}  # fmt: skip


def written(folder, key, name):
    path = folder / "config.toml"
    path.write_text(f'# Written by fedkd: `fedkd run` with this file repeats the run.\n"{key}" = "{name}"\n')
    return path


@pytest.mark.parametrize("key", NAMED)
def test_code_that_a_folder_names_takes_trust_or_its_name(tmp_path, key):
    path = written(tmp_path, key, NAMED[key])
    with pytest.raises(InputError, match=rf"config.toml: {key} = 'mine:\w+' is Python code .* give --trust") as refused:
        trusted_settings(path, False)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError):
        trusted_settings(path, False, {key: "other:code"})
    assert trusted_settings(path, True) == trusted_settings(path, False, {key: NAMED[key]}) == {key: NAMED[key]}


@pytest.mark.parametrize(
    "key, name",
    [("task", "npz:C:/a.npz"), ("task", "hf:someone/data#config"), ("task", "digits"), ("task", "object:tiny"),
     ("exchange.transforms", "clip=1.0"), ("data", "C:/file"), ("train.optimizer", "adam"),
     ("partition.kind", "shards")],
)  # fmt: skip
def test_data_and_names_of_ours_are_no_code(tmp_path, key, name):
    assert trusted_settings(written(tmp_path, key, name), False)[key] == name


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A run's folder that names a module which leaves a mark."""
    folder = tmp_path / "run"
    folder.mkdir()
    written(folder, "task", "trap_of_a_stranger:task")
    (tmp_path / "trap_of_a_stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (folder / "student_int8.tflite").write_bytes(b"x")
    (folder / "student.keras").write_bytes(b"x")
    (folder / "history.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "ran"
    sys.modules.pop("trap_of_a_stranger", None)


@pytest.mark.parametrize(
    "command",
    [["publish", "run", "--hub", "hub"], ["edge", "run", "--budget", "flash=1MB"], ["run", "--resume", "run"]],
)
def test_commands_that_take_a_folder_run_nothing_that_it_names(trap, command):
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "task = 'trap_of_a_stranger:task' is Python code that would run here; give --trust" in done.output
    assert not trap.exists()
    CliRunner().invoke(app, [*command, "--trust"])
    assert trap.exists()


def test_a_search_that_is_given_the_name_itself_runs_it(trap):
    CliRunner().invoke(app, ["edge", "run", "--budget", "flash=1MB", "--task", "trap_of_a_stranger:task"])
    assert trap.exists()
