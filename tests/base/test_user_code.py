"""Laws of the user's own modules: they are found beside the user, and hide nothing that is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedkd.base.errors import InputError
from fedkd.base.user_code import FOLDER, import_function
from fedkd.config.model import ModelConfig
from fedkd.tasks.registry import load_task

ROOT = Path(__file__).parents[2]
# As pip finds an editable install: after all of sys.path.
EDITABLE = f"""
import importlib.machinery, sys
class Editable:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("clients", "fedkd", "server", "sims"):
            return importlib.machinery.PathFinder.find_spec(name, [{str(ROOT)!r}])
sys.meta_path[:] = [f for f in sys.meta_path if "_EditableFinder" not in getattr(f, "__name__", "")] + [Editable]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in sys.modules[name].__file__:
            del sys.modules[name]


def names_of_ours(folder, kind):
    for name in ("clients", "server", "sims"):
        if kind == "files":
            (folder / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
        else:
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text("raise SystemExit('the wrong module')\n")
    (folder / "my_task.py").write_text((ROOT / "tests/tiny.py").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "folders"])
def test_a_run_takes_no_module_of_its_own_from_beside_the_task(tmp_path, kind):
    """Not even with an editable install, which Python looks for last."""
    work, site = tmp_path / "work", tmp_path / "site"
    work.mkdir()
    site.mkdir()
    names_of_ours(work, kind)
    (site / "sitecustomize.py").write_text(EDITABLE)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    options = ["rounds=1", "clients=2", "train.epochs=1", "edge.sparsity=0", "edge.precisions=int8"]
    settings = [word for option in options for word in ("--set", option)]
    script = str(Path(sys.executable).with_name("fedkd"))
    command = [script, "run", "--task", "my_task:task", "--out", "run", *settings]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / "run/student_int8.tflite").exists()


def test_a_module_in_the_current_folder_is_found(folder):
    (folder / "beside_the_user.py").write_text("def made(): return 7")
    assert import_function("beside_the_user:made")() == 7
    with pytest.raises(AttributeError):
        import_function("beside_the_user:other")
    with pytest.raises(ModuleNotFoundError):
        import_function("not_beside_the_user:made")


@pytest.mark.parametrize("name", ["server:task", "server.mine:task", "uses_server:task"])
def test_a_hidden_module_is_named(folder, name):
    (folder / "server.py").write_text("def task(): pass")
    (folder / "uses_server.py").write_text("from server import task")
    with pytest.raises(InputError) as refused:
        import_function(name)
    line = f"{folder / 'server.py'} can't be imported: module 'server' is fedkd's own package; rename yours"
    assert str(refused.value) == line


def test_a_hidden_module_is_named_when_the_task_misses_it_later(folder):
    (folder / "json.py").write_text("def labels(): return 3")
    (folder / "uses_json.py").write_text("import json\ndef task(): return json.labels()")
    with pytest.raises(InputError, match=r"task 'uses_json:task': .*json\.py can't be imported: .* is installed \("):
        load_task("uses_json:task", ModelConfig())


def test_what_is_missing_in_an_installed_module_stays_what_it_is(folder):
    with pytest.raises(AttributeError):
        import_function("json:labels")


def test_a_module_beside_whoever_started_this_process_is_found(folder, tmp_path_factory, monkeypatch):
    """Flower runs its apps in folders of its own."""
    away = tmp_path_factory.mktemp("away")
    (away / "beside_the_starter.py").write_text("def made(): return 8")
    monkeypatch.setenv(FOLDER, str(away))
    assert import_function("beside_the_starter:made")() == 8
