"""Laws of the server's app."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from rich.console import Console

from fedkd.base.errors import InputError
from fedkd.results.folder_lock import alone
from server.app import main
from sims.run import run

SETTINGS = {
    "task": "tests.tiny:task",
    "method": "fedavg_student",
    "clients": 2,
    "rounds": 1,
    "train.epochs": 1,
    "edge.sparsity": 0.0,
    "edge.precisions": "none",
}


def test_a_run_that_ends_while_its_folder_is_waited_for_is_not_begun_anew(tmp_path, monkeypatch):
    """Flower calls a run stopped some seconds before its process ends, which may end the run as well."""
    folder = run(SETTINGS, "local", tmp_path / "run", False, False, Console(quiet=True))
    history = (folder / "history.jsonl").read_text()
    ended = (folder / "summary.json").rename(tmp_path / "summary.json")

    @contextmanager
    def after_its_end(path, seconds):
        ended.rename(path / "summary.json")
        with alone(path, seconds):
            yield

    monkeypatch.setattr("server.app.alone", after_its_end)
    context = SimpleNamespace(run_config={**SETTINGS, "out": str(folder), "resume": True, "engine": "deployment"})
    with pytest.raises(InputError, match="this run has finished"):
        main(None, context)
    assert (folder / "history.jsonl").read_text() == history
