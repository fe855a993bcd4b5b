"""Laws of nodes without TensorFlow: what the server sends is all they need, and they end in a simulation's bits."""

import json
import shutil
import subprocess
import sys
import tomllib
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from flwr.app import Context, RecordDict

import clients.node.app
import server.app
from clients.node.cli import check
from clients.node.node_config import engine_of
from clients.node.training_files import TrainingFiles
from fedkd.base.contents import hash_file
from fedkd.base.errors import InputError, RunError
from fedkd.base.tensors import digest
from fedkd.config.settings import to_settings
from fedkd.exchange.blob import PayloadError
from fedkd.protocol.local import content_of
from fedkd.protocol.node_experiment import NodeExperiment, about
from fedkd.protocol.resolve import experiment_of
from fedkd.protocol.state import Offer
from fedkd.tasks.own import write_own
from sims.local_grid import LocalGrid
from tests import tiny

ROOT = Path(__file__).parents[2]
SETTINGS = {"task": "tests.tiny:task", "clients": 2, "rounds": 2, "train.epochs": 1, "edge.precisions": "none"}
FINISHED = {"edge.finish_rounds": 1, "edge.qat": True, "edge.sparsity": 0.5, "rounds": 1}
PLAIN = {"edge.sparsity": 0.0, "edge.qat": False}
MISSED = {**PLAIN, "clients": 3, "fraction": 0.6, "rounds": 4, "exchange.bits": 8, "exchange.feedback": True}
HEAVY = ("tensorflow", "keras", "scipy", "sklearn", "matplotlib", "h5py", "jinja2", "tuf")
_OFFER = {"round": 1, "base": "", "energy": 0.9, "sparsity": 0.0, "steps": ()}


def simulated(out, **settings):
    """A simulation in this process, as `fedkd run` makes one."""
    return play(out, settings, lambda i: {"partition-id": i, "state-dir": str(out.parent / f"states-{out.name}")})


def by_file(out, lose=None, **settings):
    """The same federation, each client a node with data of its own and no more.

    Args:
        out: The run's folder.
        lose: A client, and at which of the messages to it its folder is lost.
        settings: The experiment's.
    """
    calls = Counter()

    experiment, folder = experiment_of({**SETTINGS, **settings}), out.parent
    write_own(folder / "test.npz", experiment.task.test)
    for i, rows in enumerate(experiment.rows):
        write_own(folder / f"{i}.npz", experiment.task.train.take(rows))

    def node(i):
        calls[i] += 1
        if (i, calls[i]) == lose:
            shutil.rmtree(folder / f"s{i}")
        files = {"data": str(folder / f"{i}.npz"), "test": str(folder / "test.npz"), "state-dir": str(folder / f"s{i}")}
        return {"partition-id": i, "engine": "litert", **files}

    return play(out, settings, node)


def play(out, settings, node):
    config = experiment_of({**SETTINGS, **settings}).config
    run_config = {**to_settings(config), "out": str(out)}

    def context(node_id, node_config):
        return Context(1, node_id, node_config, RecordDict(), run_config)

    places = {i: i + 2 for i in range(config.clients)}
    grid = LocalGrid(clients.node.app.app, places, lambda node_id: context(node_id, node(node_id - 2)), 2)
    server.app.app(grid, context(1, {}))
    lines = (out / "history.jsonl").read_text().splitlines()
    return json.loads((out / "summary.json").read_text()), [json.loads(line) for line in lines]


def clients_of(history):
    return [
        {k: v for k, v in ended["clients"].items() if k not in ("seconds", "down_bytes", "peak_bytes")}
        for ended in history
    ]


def slow(settings, name):
    return pytest.param(settings, marks=pytest.mark.slow, id=name)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(MISSED, id="missed"),
        slow(FINISHED, "finished"),
        *(slow({**PLAIN, "method": method}, method) for method in ("fetchsgd", "scaffold", "feddropout")),
    ],
)
def test_nodes_end_in_the_bits_of_a_simulation_that_trains_by_the_same_file(tmp_path, settings):
    (tmp_path / "a").mkdir()
    ours, rounds = by_file(tmp_path / "a/run", **settings)
    theirs, others = simulated(tmp_path / "b", **settings, **{"train.engine": "litert"})
    assert ours["shared_sha256"] == theirs["shared_sha256"]
    assert clients_of(rounds) == clients_of(others)
    assert not any(ended["refused"] for ended in rounds)
    files = list(tmp_path.glob("a/s*/training/*.tflite"))
    stages = 2 if settings is FINISHED else 1  # one for the training rounds, one for the finishing rounds
    assert len(files) == stages * (SETTINGS | settings)["clients"]


@pytest.mark.slow
def test_a_node_that_lost_its_folder_gets_file_and_model_again(tmp_path):
    (tmp_path / "a").mkdir()
    _, rounds = by_file(tmp_path / "a/run", lose=(0, 3), **PLAIN, rounds=3)  # asked, asked again with the file
    assert [ended["behind"] for ended in rounds] == [[0, 1], [0], []]
    assert not any(ended["refused"] for ended in rounds)
    assert len(list(tmp_path.glob("a/s*/training/*.tflite"))) == 2


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    experiment = experiment_of({**SETTINGS, **PLAIN})
    path = tmp_path_factory.mktemp("file") / "given.tflite"
    path.write_bytes(content_of(experiment, "", about(experiment, experiment, "")))
    return path


def test_a_file_has_all_a_node_needs_of_its_experiment(file):
    ours, theirs = NodeExperiment(file), experiment_of({**SETTINGS, **PLAIN})
    assert (ours.fingerprint, ours.spec, ours.roles) == (theirs.fingerprint, theirs.spec, theirs.roles)
    assert ours.evaluation_interval == theirs.evaluation_interval
    assert (ours.energy(2), ours.rate(2)) == (theirs.energy(2), theirs.rate(2))
    own = theirs.task.train.take(theirs.rows[1])
    for a, b in zip(ours.client_data(1, own), theirs.client_data(1), strict=True):
        np.testing.assert_array_equal(a.x, b.x)
    state = theirs.local().initial_state()
    for group, arrays in ours.local().initial_state().items():
        assert digest(arrays) == digest(state[group])


def test_nothing_heavy_is_imported(file, tmp_path):
    write_own(tmp_path / "own.npz", tiny.examples(20, 0))
    program = f"""
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from pathlib import Path
import clients.node.app, clients.node.training, clients.node.training_files
from clients.node.cli import check
print(check(Path({str(tmp_path / "own.npz")!r}), Path({str(tmp_path / "state")!r}), Path({str(file)!r}), None))
print(*(name for name in sys.modules if name.partition(".")[0] in ("fedkd", "clients", "server", "sims")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, modules = done.stdout.splitlines()
    assert "20 examples, as the training file wants them" in said
    packages = set(tomllib.loads((ROOT / "clients/node/pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    for name in modules.split():
        assert (name if (ROOT / name.replace(".", "/")).is_dir() else name.rpartition(".")[0]) in packages


def test_what_a_node_keeps_is_what_the_server_named(file, tmp_path):
    files, content = TrainingFiles(tmp_path / "t", file), file.read_bytes()
    offer = Offer(**_OFFER, training_file=hash_file(file))
    assert files.newest() == offer.training_file
    assert files.find(offer) == file
    assert files.find(replace(offer, training_file="0" * 64)) is None
    assert files.find(Offer(**_OFFER)) is None
    kept = TrainingFiles(tmp_path / "t").find(replace(offer, training=zlib.compress(content)))
    assert kept.read_bytes() == content
    for damaged in (zlib.compress(content[:-1]), b"no stream"):
        with pytest.raises(PayloadError, match="training file"):
            TrainingFiles(tmp_path / "u").find(replace(offer, training=damaged))
    assert not list((tmp_path / "u").glob("*/*"))
    with pytest.raises(RunError, match="can't be written"):
        TrainingFiles(file).find(replace(offer, training=zlib.compress(content)))


def test_examples_are_checked_by_the_file(file, tmp_path):
    np.savez(tmp_path / "wrong.npz", x=np.zeros((4, 3, 1), np.float32), y=np.zeros(4, int))
    with pytest.raises(InputError, match=r"x must hold examples of shape \(6, 6, 1\) in float32"):
        check(tmp_path / "wrong.npz", tmp_path / "s", file, None)
    assert "to be checked when the training file comes" in check(tmp_path / "wrong.npz", tmp_path / "s", None, None)
    write_own(tmp_path / "own.npz", replace(tiny.examples(9, 0), x=tiny.examples(9, 0).x * 255))
    assert "warning: " in check(tmp_path / "own.npz", tmp_path / "s", file, None)


def test_what_is_no_training_file_is_one_line(tmp_path):
    write_own(tmp_path / "own.npz", tiny.examples(9, 0))
    (tmp_path / "text.tflite").write_text("text")
    (tmp_path / "simulated.tflite").write_bytes(content_of(experiment_of({**SETTINGS, **PLAIN}), ""))
    for name, said in (("none", "no training file"), ("text", "no training file"), ("simulated", "only a simulation")):
        with pytest.raises(InputError, match=f"{name}.tflite: .*{said}"):
            check(tmp_path / "own.npz", tmp_path / "s", tmp_path / f"{name}.tflite", None)


def test_a_node_says_what_it_trains_with():
    assert [engine_of({}), engine_of({"engine": "litert"})] == ["tensorflow", "litert"]
    with pytest.raises(InputError, match="engine must be tensorflow or litert, got 'jax'"):
        engine_of({"engine": "jax"})


def shifted(x, rng):
    return x


def test_what_a_task_has_of_its_own_is_refused_by_name():
    experiment = experiment_of({**SETTINGS, **PLAIN})
    own = replace(experiment, task=replace(experiment.task, augment=shifted))
    with pytest.raises(InputError, match=r"augments by tests\.node\.test_by_file:shifted"):
        about(own, own, "")
    scored = replace(experiment, task=tiny.scored())
    with pytest.raises(
        InputError,
        match="objective must be one of Classification, Detection, Regression, MultiLabel, Ranking, got Scored",
    ):
        about(scored, scored, "")


def test_a_client_whose_file_cannot_be_made_is_refused_by_name(tmp_path):
    (tmp_path / "a").mkdir()
    settings = {"task": "tests.node.test_by_file:recurrent", **PLAIN, "rounds": 1}
    with pytest.raises(RunError, match=r"no usable update from any client: train\.engine = 'litert' needs operations"):
        by_file(tmp_path / "a/run", **settings)


def recurrent():
    """A task whose student has a loop, which no file has."""

    def student():
        inputs = keras.Input((6, 6, 1))
        x = keras.layers.GRU(4)(keras.layers.Reshape((6, 6))(inputs))
        return keras.Model(inputs, keras.layers.Dense(3)(x))

    return replace(tiny.task(), student=student)
