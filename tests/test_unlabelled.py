"""Laws of examples without labels: the models teach each other on them, and no task loss counts."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from fedkd.config.sections import LossConfig, TrainConfig
from fedkd.data.dataset import Dataset
from fedkd.distill.batches import Schedule, batches
from fedkd.distill.keras_trainer import KerasTrainer
from fedkd.litert.opened import Opened
from fedkd.litert.trainer import LiteRTTrainer
from fedkd.litert.training_file import training_file
from fedkd.models.inspect import build_model
from fedkd.objectives.classification import Classification
from fedkd.protocol.resolve import resolve
from fedkd.tasks.own import read_own, write_own
from fedkd.tasks.registry import checked_task
from sims.cli import app
from sims.run import run
from tests import tiny

CLASSES = Classification(("a", "b", "c"))
REST = {"task": "tests.tiny:task", "clients": 3, "partition.examples": 60, "train.unlabelled": "rest"}
PLAIN = {"rounds": 2, "edge.sparsity": 0.0, "edge.precisions": "none"}


def rng(seed=0):
    return np.random.default_rng(seed)


def some(labelled, unlabelled):
    """Examples whose input says which they are: from 0 on with labels, from 1000 on without."""
    x, y = np.arange(labelled, dtype=np.float32)[:, None], np.arange(labelled) % 3
    return Dataset(x, y, unlabelled=1000 + np.arange(unlabelled, dtype=np.float32)[:, None])


def every(schedule):
    return schedule.lot(0, len(schedule))


def test_each_batch_has_so_many_without_labels_and_none_comes_again_before_all_have_come():
    lot = every(Schedule(some(11, 7), 4, 2, 3, None, rng()))
    assert lot.x.shape == (9, 12, 1)
    assert (lot.x[:, :4] < 1000).all()
    assert (lot.x[:, 4:] >= 1000).all()
    drawn = lot.x[:, 4:].ravel()
    for start in range(0, len(drawn) - 7, 7):
        assert sorted(drawn[start : start + 7] - 1000) == list(range(7))


def test_shares_are_equal_in_what_models_teach_and_none_in_the_task_loss():
    """The last batch of 11 holds three of them: so its 3 + 8 rows share alike, and a row that fills up has nothing."""
    lot = every(Schedule(some(11, 7), 4, 2, 1, None, rng()))
    np.testing.assert_allclose(lot.shares.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(lot.task_shares.sum(1), 1, rtol=1e-6)
    assert not lot.task_shares[:, 4:].any()
    assert lot.shares[2].tolist() == pytest.approx([1 / 11] * 3 + [0] + [1 / 11] * 8)
    assert lot.task_shares[2].tolist() == pytest.approx([1 / 3] * 3 + [0] * 9)


def test_classes_that_count_more_do_so_among_those_with_labels():
    weights = np.arange(8, dtype=np.float32)
    lot = every(Schedule(some(8, 5), 4, 1, 1, weights, rng()))
    np.testing.assert_allclose(lot.task_shares[:, :4], lot.x[:, :4, 0] / 4)
    assert not lot.task_shares[:, 4:].any()


def test_without_them_training_is_as_it_was():
    ours, theirs = rng(3), rng(3)
    schedule = Schedule(some(11, 7), 4, 0, 2, None, ours)
    rows, shares = batches(11, 4, 2, theirs)
    assert ours.bit_generator.state == theirs.bit_generator.state
    lot = every(schedule)
    np.testing.assert_array_equal(lot.x[..., 0], rows)
    np.testing.assert_array_equal(lot.shares, shares)
    assert lot.task_shares is None


def still(width):
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(width, 3, activation="relu")(inputs))
    return keras.Model(inputs, {"logits": keras.layers.Dense(3)(keras.layers.Flatten()(x)), "hidden": [x]})


def trainer(loss, **settings):
    models = {"teacher": build_model(lambda: still(6), 1), "student": build_model(lambda: still(3), 2)}
    train = TrainConfig(optimizer="sgd", batch_size=8, unlabelled="nodes", **settings)
    return KerasTrainer(models, train, loss, CLASSES, seed=0)


def mixed(labelled, unlabelled):
    return replace(tiny.examples(labelled, 0), owners=None, unlabelled=tiny.examples(unlabelled, 1).x)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_losses_are_cross_entropy_of_the_labelled_and_divergence_of_all():
    """One batch: CE over the 8 with labels, KL(peer || model) over these and the 16 without."""
    ours, data = trainer(LossConfig(adaptive=False, hidden=False), unlabelled_ratio=2), mixed(8, 16)
    state = ours.initial_state()
    _, losses = ours.fit(state, data, rng())
    x = np.concatenate([data.x, data.unlabelled])
    p = {role: softmax(ours.logits(role, state[role], x).astype(float)) for role in ours.roles}
    for role, peer in (("teacher", "student"), ("student", "teacher")):
        cross_entropy = -np.log(p[role][np.arange(8), data.y]).mean()
        divergence = (p[peer] * np.log(p[peer] / p[role])).sum(1).mean()
        assert losses[role] == pytest.approx(cross_entropy + divergence, rel=1e-5)


@pytest.mark.slow
def test_a_file_trains_on_them_as_tensorflow_does():
    theirs, data = trainer(LossConfig(), unlabelled_ratio=2, epochs=2), mixed(21, 9)
    ours = LiteRTTrainer(Opened(training_file(theirs, data.x[:1], data.y[:1], ())), 2)
    before = theirs.initial_state()
    (a, ours_lost), (b, theirs_lost) = (each.fit(before, data, rng()) for each in (ours, theirs))
    for role in ours.roles:
        moved = [np.concatenate([(x - y).ravel() for x, y in zip(s[role], before[role], strict=True)]) for s in (a, b)]
        assert moved[0] @ moved[1] / np.linalg.norm(moved[0]) / np.linalg.norm(moved[1]) > 1 - 1e-6
        assert ours_lost[role] == pytest.approx(theirs_lost[role], rel=1e-5)


def test_rest_is_what_is_left_out_and_every_client_has_it():
    experiment, whole = resolve(REST), tiny.examples(120, 0)
    used = {row.tobytes() for row in experiment.task.train.x}
    held = experiment.client_data(1)[0].unlabelled
    assert sorted(row.tobytes() for row in held) == sorted({row.tobytes() for row in whole.x} - used)
    assert held is experiment.client_data(0)[0].unlabelled  # once in memory, whatever the number of clients
    assert experiment.client_data(1)[1].unlabelled is None


def test_nobody_has_any_where_none_are_asked_for():
    experiment = resolve({key: value for key, value in REST.items() if key != "train.unlabelled"})
    assert experiment.task.train.unlabelled is None
    own = replace(tiny.examples(9, 0), unlabelled=tiny.examples(4, 1).x)
    assert experiment.client_data(0, own)[0].unlabelled is None


def test_a_file_of_them_counts_by_what_is_in_it(tmp_path):
    a, b, c = (tmp_path / f"{name}.npz" for name in "abc")
    for path, seed in ((a, 5), (b, 5), (c, 6)):
        np.savez(path, x=tiny.examples(30, seed).x)
    found = [resolve({**REST, "train.unlabelled": str(path)}) for path in (a, b, c)]
    assert found[0].fingerprint == found[1].fingerprint != found[2].fingerprint
    np.testing.assert_array_equal(found[0].client_data(2)[0].unlabelled, tiny.examples(30, 5).x)
    assert "labels" in next(name for name in found[0].contents if "unlabelled" in name)


def test_a_nodes_own_come_first_and_make_the_same_experiment_of_a_split(tmp_path):
    settings = ["--set", "partition.examples=60", "--set", "train.unlabelled=rest"]
    call = ["split", "tests.tiny:task", "--clients", "3", "--out", str(tmp_path / "s"), *settings]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    dealt, nodes = resolve(REST), resolve({**REST, "partition.kind": "nodes", "train.unlabelled": "nodes"})
    assert 'unlabelled = "nodes"' in (tmp_path / "s" / "deploy.toml").read_text()
    for client in range(3):
        own = read_own(tmp_path / "s" / str(client) / "data.npz", nodes.task)
        ours, theirs = nodes.client_data(client, own)[0], dealt.client_data(client)[0]
        for name in ("x", "y", "unlabelled"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_a_client_that_has_none_is_told_what_it_lacks():
    experiment = resolve({**REST, "partition.kind": "nodes", "train.unlabelled": "nodes"})
    data, _ = experiment.client_data(0, tiny.examples(20, 0))
    with pytest.raises(InputError, match="no examples without labels; give its file an `unlabelled`"):
        experiment.local(0).trainer.fit(experiment.local(0).trainer.initial_state(), data, rng())


def test_a_class_without_a_teacher_needs_none():
    settings = {**REST, "classes.zero.clients": "1", "classes.zero.teacher": "none"}
    local = resolve(settings).local(1)
    local.trainer.fit(local.trainer.initial_state(), tiny.examples(20, 0), rng())


BAD = {
    "leaves no": {"train.unlabelled": "rest", "partition.examples": 0},
    "all": {"train.unlabelled": "rest", "partition.examples": 120},
    "no such file": {"train.unlabelled": "none.npz"},
    "deals the": {"train.unlabelled": "nodes"},
    "one of": {"train.unlabelled": "elsewhere"},
    "don't teach each other": {"train.models": "student"},
    "is off": {"loss.mutual": False, "loss.hidden": False},
    "at least 1": {"train.unlabelled_ratio": 0},
    "where there are none": {"train.unlabelled": "", "train.unlabelled_ratio": 2},
}


@pytest.mark.parametrize("settings", [pytest.param(BAD[name], id=name) for name in BAD])
def test_what_would_do_nothing_or_is_none_is_refused_in_one_line(settings):
    with pytest.raises(InputError, match=r"train\.unlabelled|no such file") as caught:
        resolve({**REST, **settings})
    assert "\n" not in str(caught.value)


FILES = {
    "x holds no examples": {"x": np.zeros((0, 6, 6, 1), np.float32)},
    "must hold examples of shape": {"x": np.zeros((4, 6, 6), np.float32)},
    "NaN": {"x": np.full((4, 6, 6, 1), np.nan, np.float32)},
    "measure them alike": {"x": 255 * tiny.examples(9, 0).x},
    "arrays missing: x": {"y": np.zeros(3)},
}


@pytest.mark.parametrize("said, arrays", FILES.items(), ids=FILES)
def test_a_file_of_others_is_refused_in_one_line(said, arrays, tmp_path):
    np.savez(tmp_path / "u.npz", **arrays)
    with pytest.raises(InputError, match=said) as caught:
        resolve({**REST, "train.unlabelled": str(tmp_path / "u.npz")})
    assert str(tmp_path / "u.npz") in str(caught.value)


def test_a_nodes_own_are_checked_like_its_examples(tmp_path):
    task, data = resolve(REST).task, tiny.examples(9, 0)
    for name, bad in {"shape": np.zeros((4, 5), np.float32), "NaN": data.x * np.nan, "no examples": data.x[:0]}.items():
        write_own(tmp_path / "own.npz", replace(data, owners=None, unlabelled=bad))
        with pytest.raises(InputError, match=name) as caught:
            read_own(tmp_path / "own.npz", task)
        assert "unlabelled" in str(caught.value)


def test_ids_beyond_the_tasks_words_are_refused(tmp_path):
    x = rng().integers(2, 30, (60, 12)).astype(np.int32)
    arrays = {"x_train": x, "y_train": np.arange(60) % 2, "x_test": x, "y_test": np.arange(60) % 2}
    np.savez(tmp_path / "words.npz", **arrays, classes=list("ab"))
    np.savez(tmp_path / "u.npz", x=x + 30)
    with pytest.raises(InputError, match="know word ids from 0 to"):
        resolve({"task": f"npz:{tmp_path / 'words.npz'}", "clients": 2, "train.unlabelled": str(tmp_path / "u.npz")})


def run_in(folder, **settings):
    run({**REST, **PLAIN, **settings}, "local", folder, False, False, Console(quiet=True))
    return json.loads((folder / "summary.json").read_text())["shared_sha256"]


def test_a_run_with_them_is_another_and_the_same_with_any_threads(tmp_path):
    method = {"method": "fedkd_public", "train.unlabelled": "rest"}
    found = [run_in(tmp_path / str(threads), threads=threads, **method) for threads in (1, 3)]
    without = run_in(tmp_path / "without", **{"train.unlabelled": ""})
    assert found[0] == found[1] != without


def test_a_ratio_may_be_set_where_the_method_says_where_they_are_from():
    settings = {key: value for key, value in REST.items() if key != "train.unlabelled"}
    config = resolve({**settings, "method": "fedkd_public", "train.unlabelled_ratio": 3}).config
    assert (config.train.unlabelled, config.train.unlabelled_ratio) == ("rest", 3)


def test_a_task_does_not_bring_its_own():
    task = replace(tiny.task(), train=replace(tiny.examples(120, 0), unlabelled=tiny.examples(9, 1).x))
    with pytest.raises(InputError, match=r"train\.unlabelled names them"):
        checked_task(task)
