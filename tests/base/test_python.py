"""Laws of starting another Python: nothing of the current folder runs in it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedkd.base.python import import_path, python, safe_path
from fedkd.edge.child import run_module
from sims.deploy.flower import environment

ROOT = Path(__file__).parents[2]
TRAPS = ("numpy", "json", "random", "sitecustomize", "usercustomize", "tensorflow", "typer", "pip")


@pytest.fixture
def trapped(tmp_path, monkeypatch):
    """The current folder, full of modules that leave a mark when they run, and first on the import path."""
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    yield tmp_path
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def test_no_module_of_the_current_folder_runs_in_a_child(trapped):
    done = run_module("fedkd.edge.contents", "none.tflite")
    assert "none.tflite" in done.stderr
    run_module("fedkd.edge.convert", "--help")
    code = "import json, random, numpy, typer, fedkd.edge.child"
    env = {"PYTHONPATH": import_path()}
    assert subprocess.run(python("-c", code), env=env).returncode == 0


def test_nor_in_flowers_processes(trapped):
    env = environment(trapped)
    assert subprocess.run([sys.executable, "-c", "import json, numpy, typer, fedkd"], env=env).returncode == 0


def test_nor_in_a_suites_workers(trapped):
    from sims.suite.worker import Worker

    worker = Worker()
    assert worker.alive
    worker.stop()
    with safe_path():
        assert subprocess.run([sys.executable, "-c", "import json, random"]).returncode == 0


@pytest.mark.slow
def test_the_users_own_layers_are_found_in_the_current_folder(tmp_path, monkeypatch):
    from fedkd.edge.convert import convert

    (tmp_path / "own_layers.py").write_text(
        "import keras\nclass Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n        return 2 * x\n"
        "Twice = keras.saving.register_keras_serializable('own_layers')(Twice)\n"
    )
    monkeypatch.chdir(tmp_path)
    from fedkd.base.user_code import import_module

    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    own = import_module("own_layers")
    import keras

    inputs = keras.Input((2,))
    keras.Model(inputs, own.Twice()(inputs)).save("own.keras")
    (done,) = convert(Path("own.keras"), np.zeros((0, 2), np.float32), tmp_path, ["float32"], modules=["own_layers"])
    del sys.modules["own_layers"]
    assert done.error is None
