"""Laws of a run that starts from pretrained weights, and of the command that makes them."""

import io

import h5py
import keras
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.config.settings import read_toml
from fedkd.protocol.contents import changed_contents
from fedkd.protocol.federation import new_client, new_server
from fedkd.protocol.resolve import chosen_rows, resolve
from fedkd.tasks import digits
from sims.cli import app
from sims.run import run

WIDTH = ["--set", "model.teacher_width=4", "--set", "model.student_width=4"]


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def pretrain(out, *flags):
    return call("pretrain", "--epochs", 1, "--out", out, *WIDTH, "--set", "partition.examples=300", *flags)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "teacher.weights.h5"
    done = pretrain(path)
    assert done.exit_code == 0, done.output
    assert "rotation of 300 examples, 1 epochs: loss 1.3" in done.output
    assert list(path.parent.iterdir()) == [path]
    return path


def test_same_settings_write_the_same_file(weights, tmp_path):
    """All but the name that Keras gives the model, which counts the models of the process."""
    assert pretrain(tmp_path / "again.weights.h5").exit_code == 0
    with h5py.File(weights) as first, h5py.File(tmp_path / "again.weights.h5") as second:
        names = tensors(first)
        assert names == tensors(second)
        assert len(names) == 12
        assert all(np.array_equal(first[name], second[name]) for name in names)


def tensors(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def test_server_and_clients_start_with_the_teachers_layers(weights):
    """Each side resolves the settings for itself; the student's two convolutions are the teacher's first of a block."""
    settings = {"model.teacher_width": 4, "model.student_width": 4, "model.student_init": "teacher_layers"}
    settings |= {"model.teacher_weights": str(weights)}
    server, client = new_server(resolve(settings)), new_client(resolve(settings).local())
    teacher, random = client.local["teacher"], resolve({"model.teacher_width": 4}).build("teacher").get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(server.shared, client.base, strict=True))
    for mine, theirs in zip(client.base[:4], [*teacher[:2], *teacher[4:6]], strict=True):
        assert np.array_equal(mine, theirs)
    assert not np.array_equal(teacher[0], random[0])
    assert np.array_equal(teacher[-2], random[-2])  # the head stays the seed's


def test_run_writes_the_absolute_path_and_says_what_the_student_took(weights, tmp_path, monkeypatch):
    """Of a method that trains no teacher too."""
    monkeypatch.chdir(weights.parent)
    settings = {"method": "fedavg_student", "model.student_init": "teacher_layers", "clients": 2, "rounds": 1}
    settings |= {"model.teacher_width": 4, "model.student_width": 4, "model.teacher_weights": weights.name}
    settings |= {"edge.sparsity": 0, "edge.precisions": "none", "train.epochs": 1, "partition.examples": 100}
    said = io.StringIO()
    run(settings, "local", tmp_path / "run", False, False, Console(file=said, width=200))
    assert "starts from the teacher's layers, 2 of its 2" in said.getvalue()
    assert read_toml(tmp_path / "run/config.toml")["model.teacher_weights"] == str(weights)


@pytest.mark.slow
def test_a_run_goes_on_from_another_runs_student(tmp_path):
    """Server and clients start from the file; its content, and not its path, is part of what the run is."""
    settings = {"task": "tests.tiny:task", "clients": 2, "rounds": 1, "edge.sparsity": 0, "edge.precisions": "none"}
    first = run(settings, "local", tmp_path / "first", False, False, Console(quiet=True))
    before = keras.saving.load_model(first / "student.keras").get_weights()
    settings |= {"model.student_weights": str(first / "student.keras"), "seed": 1}
    experiment = resolve(settings)
    for held in (new_server(experiment).shared, new_client(experiment.local()).base):
        assert all(np.array_equal(a, b) for a, b in zip(held, before, strict=True))
    (tmp_path / "moved.keras").write_bytes((first / "student.keras").read_bytes())
    moved = resolve(settings | {"model.student_weights": str(tmp_path / "moved.keras")})
    assert moved.fingerprint == experiment.fingerprint
    other = keras.saving.load_model(first / "student.keras")
    other.set_weights([array + 1 for array in before])
    other.save(tmp_path / "moved.keras")
    changed = resolve(settings | {"model.student_weights": str(tmp_path / "moved.keras")})
    assert changed.fingerprint != experiment.fingerprint
    (why,) = changed_contents(experiment.contents, changed.contents)
    assert why == "the student's weights file (model.student_weights) differs from the one the run began with"
    said = io.StringIO()
    run(settings | {"edge.sparsity": 0.5, "edge.finish_rounds": 1}, "local", tmp_path / "second", False, False,
        Console(file=said, width=300))  # fmt: skip
    assert f"the student starts from {first / 'student.keras'}" in said.getvalue()


def test_left_out_examples_are_those_that_a_run_does_not_use(tmp_path, monkeypatch):
    """Of 1 437 digits a run uses 1 400; the other 37 are told from them by their pixels."""
    seen = {}

    def remember(model, x, *rest):
        seen["x"] = x
        raise KeyboardInterrupt

    monkeypatch.setattr("fedkd.distill.pretrain.pretrain", remember)
    settings = ["--set", "partition.examples=1400", "--out", tmp_path / "w.weights.h5"]
    assert call("pretrain", "--left-out", *WIDTH, *settings).exit_code == 130
    config = resolve({"partition.examples": 1400}).config
    task = digits.load(config.model)
    train = task.train
    used = {image.tobytes() for image in train.x[chosen_rows(task, config)]}
    assert len(seen["x"]) == 37
    assert not used & {image.tobytes() for image in seen["x"]}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["pretrain", "--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["pretrain", "--out", "teacher.h5"], "--out must end with .weights.h5, got teacher.h5"),
        (["pretrain", "--left-out"], "--left-out needs partition.examples"),
        (["pretrain", "--left-out", "--set", "partition.examples=1437"], "leaves none of the 1437"),
        (["pretrain", "--task", "cats"], "unknown task 'cats'"),
        (["run", "--set", "model.teacher_weights=none.weights.h5"], "none.weights.h5: no such file"),
        (["run", "--set", "model.teacher_weights=x.npz"], "model.teacher_weights must be a .weights.h5 or .keras file"),
        (["run", "--set", "model.student_weights=none.keras"], "none.keras: no such file; model.student_weights takes"),
        (["run", "--set", "model.student_weights=x.h5"], "model.student_weights must be a .weights.h5 or .keras file"),
        (
            ["run", "--set", "model.student_weights=a.keras", "--set", "model.student_init=teacher_layers"],
            "model.student_init must be random where model.student_weights names a file",
        ),
        (
            ["run", "--method", "fedavg_teacher", "--set", "model.student_weights=a.keras"],
            "model.student_weights must be empty where no student is trained",
        ),
        (["run", "--set", "model.student_init=zeros"], "model.student_init must be random or teacher_layers"),
        (["run", "--set", "model.student_init=teacher_layers"], "no layer of the student has the kind and shapes"),
    ],
)
def test_bad_input_gets_one_line_and_code_2_and_writes_nothing(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    refused(call(*arguments), words)
    assert list(tmp_path.iterdir()) == []


def test_file_of_another_teacher_is_refused_before_anything_is_written(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"{weights}: doesn't fit the teacher: layers/conv2d/vars/0 (block0_conv0) must have shape"
    refused(call("run", "--set", f"model.teacher_weights={weights}"), f"{words} (3, 3, 1, 32), got (3, 3, 1, 4)")
    assert list(tmp_path.iterdir()) == []


def test_file_that_exists_is_kept(weights):
    before = weights.read_bytes()
    refused(pretrain(weights), f"{weights} exists")
    assert weights.read_bytes() == before


def refused(result, words):
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
