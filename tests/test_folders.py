"""Laws of the folders that commands make: taken at once, given back where nothing came of it, never another's."""

import io
import shutil

import keras
import pytest
from rich.console import Console

from fedkd.base import files
from fedkd.base.errors import InputError
from fedkd.edge.budget import Budget
from fedkd.protocol.resolve import experiment_of
from fedkd.results.folder_lock import alone
from fedkd.results.run_folder import RunFolder
from fedkd.results.search import RESULT
from sims.deploy.folder import MARK, Deployment, write_deployment
from sims.deploy.up import up
from sims.edge.run import Order, run_search
from sims.pretrain import pretrain
from sims.run import run
from sims.suite import worker
from sims.suite.plan import Job

pytestmark = pytest.mark.slow

QUIET = Console(quiet=True)
TINY = {"task": "tests.tiny:task", "clients": 2}


class Stop(Exception):
    """What the commands here end with, as far as they come."""


def a_run(folder, overwrite):
    return run(TINY, "local", folder, overwrite, False, QUIET)


def a_federation(folder, overwrite, console=QUIET):
    return up(TINY, 2, folder, overwrite, console)


def a_search(folder, overwrite):
    model = folder.parent / "model.keras"
    keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]).save(model)
    return run_search(Order(model, Budget(), folder, overwrite, "tests.tiny:task"), QUIET)


def a_deployment(folder, overwrite):
    return write_deployment(Deployment(folder, 1), overwrite)


# What each does first once its folder is taken, and the file by which its kind is told.
COMMANDS = {
    a_run: ("sims.run._prepare", "config.toml"),
    a_federation: ("sims.deploy.up._started", "config.toml"),
    a_search: ("sims.edge.run._bench", RESULT),
    a_deployment: ("sims.deploy.folder._write", MARK),
}


@pytest.fixture(params=COMMANDS, ids=lambda begin: begin.__name__)
def command(request, monkeypatch):
    """A command, and how to have something happen after it has taken its folder."""
    at, mark = COMMANDS[request.param]

    def begin(folder, overwrite, happens):
        def there(*_):
            happens()
            raise Stop

        monkeypatch.setattr(at, there)
        request.param(folder, overwrite)

    begin.mark = mark
    return begin


def whole(folder, mark):
    """The folder of an earlier command of the same kind."""
    if mark == "config.toml":
        RunFolder.create(folder, experiment_of(TINY).config, False)
    else:
        folder.mkdir()
        (folder / mark).write_text("")
    return folder


def test_nobody_else_takes_a_folder_that_is_being_prepared(command, tmp_path):
    folder, config = tmp_path / "deep" / "made", experiment_of(TINY).config

    def other():
        with pytest.raises(InputError, match="exists; choose another folder"):
            RunFolder.create(folder, config, False)
        with pytest.raises(InputError, match="another process runs this"):
            RunFolder.create(folder, config, True)

    tmp_path.joinpath("deep").mkdir()
    with pytest.raises(Stop):
        command(folder, False, other)
    assert not folder.exists()


def test_what_was_put_there_meanwhile_stays(command, tmp_path):
    folder = tmp_path / "made"
    with pytest.raises(Stop):
        command(folder, False, lambda: (folder / "precious").write_text(""))
    assert (folder / "precious").exists()


def test_what_is_to_be_replaced_stays_until_all_is_prepared(command, tmp_path):
    folder = whole(tmp_path / "made", command.mark)
    with pytest.raises(InputError, match="exists; choose another folder"):
        command(folder, False, lambda: pytest.fail("it began"))
    with pytest.raises(Stop):
        command(folder, True, lambda: None)
    assert (folder / command.mark).exists()


def test_a_run_that_appears_between_look_and_take_is_left(tmp_path, monkeypatch):
    folder, config, look = tmp_path / "run", experiment_of(TINY).config, files.check_free

    def looked(*arguments):
        look(*arguments)
        if not folder.exists():
            folder.mkdir()
            (folder / "config.toml").write_text("another's")

    monkeypatch.setattr(files, "check_free", looked)
    monkeypatch.setattr("fedkd.results.folder_lock.check_free", looked)
    for take in (lambda: RunFolder.create(folder, config, False), lambda: a_run(folder, False)):
        with pytest.raises(InputError, match="exists; choose another folder"):
            take()
        assert [path.name for path in folder.iterdir()] == ["config.toml"]
        shutil.rmtree(folder)


def test_a_file_of_weights_that_appears_meanwhile_is_left(tmp_path, monkeypatch):
    file = tmp_path / "new" / "teacher.weights.h5"

    def other(*_):
        with pytest.raises(InputError, match="exists; choose another file"):
            pretrain(TINY, 1, False, file, False, QUIET)
        raise Stop

    monkeypatch.setattr("sims.pretrain._shown", other)
    with pytest.raises(Stop):
        pretrain(TINY, 1, False, file, False, QUIET)
    assert list(tmp_path.iterdir()) == []


def test_a_cell_that_another_process_runs_is_left(tmp_path, monkeypatch):
    config, folder = experiment_of(TINY).config, whole(tmp_path / "cell", "config.toml")
    for name in ("_print_into", "_forget"):
        monkeypatch.setattr(f"sims.suite.worker.{name}", lambda *_: None)
    with alone(folder):
        said = worker._run(Job(None, config, folder, tmp_path / "log"))
    assert "another process runs this" in said
    assert (folder / "config.toml").exists()


def test_how_many_rounds_there_will_be_is_said_first(tmp_path, monkeypatch):
    def stop(*_):
        raise Stop

    settings = {**TINY, "rounds": 3, "edge.sparsity": 0.25, "edge.qat": True}
    monkeypatch.setattr("sims.deploy.up._started", stop)
    monkeypatch.setattr("sims.run._drive", stop)
    for begin in (
        lambda *last: up(settings, 2, *last),
        lambda out, overwrite, console: run(settings, "local", out, overwrite, False, console),
    ):
        console = Console(record=True, width=200, file=io.StringIO())
        with pytest.raises(Stop):
            begin(tmp_path / "run", True, console)
        words = "6 rounds: 3 of training, then 3 finishing rounds (prune weights 25%, qat int8)"
        assert words in console.export_text()
