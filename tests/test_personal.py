"""Laws of federations of which every client keeps a part of the shared model to itself."""

import io
import json
import re
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.config.deciding import deciding
from fedkd.exchange.codec import decode
from fedkd.models.inspect import get_weights, model_spec
from fedkd.protocol.resolve import resolve
from fedkd.results.run_folder import read
from sims.cli import app
from sims.report.compare import comparison, notices
from sims.report.page import write_report
from sims.report.plots.quality import quality_by_round
from sims.report.table import summary_table
from sims.run import resume, run
from tests import test_adapters as adapters
from tests import tiny
from tests.pretrained_folder import LAYERS, write
from tests.test_adapters import same
from tests.test_encoder import texts

TINY = {"task": "tests.tiny:task", "clients": 3, "rounds": 2, "train.epochs": 1}
QUIET = Console(quiet=True)
METHODS = ("fedper", "fedbn", "fedsa_lora")
# Of what takes seconds one method is enough in a short run of all tests.
SOME_SLOW = (pytest.param("fedper"), *(pytest.param(method, marks=pytest.mark.slow) for method in METHODS[1:]))


def federation(settings, rounds=((0, 1, 2), (0, 2), (0, 1, 2))):
    return adapters.federation(TINY | {"rounds": 3} | settings, rounds)


def split(found, client):
    """A client's model: what is shared of it, and what it has to itself."""
    personal = found.experiment.personal
    model = list(enumerate(found.clients[client].local["teacher"]))
    return [array for i, array in model if i not in personal], [array for i, array in model if i in personal]


@pytest.mark.parametrize(
    "method, stays",
    [
        ("fedper", [(36 * 3, 3), (3,)]),  # the head, its bias
        ("fedbn", [(12,)] * 4),  # scale, offset, two statistics
        ("fedsa_lora", [(8, 12)]),  # B of the one kernel before the head
    ],
)
def test_what_stays_crosses_no_network(method, stays):
    found = federation({"method": method})
    experiment = found.experiment
    whole, personal = model_spec(experiment.shared_model), experiment.personal
    assert [whole[i].shape for i in sorted(personal)] == stays
    assert list(experiment.spec) == [item for i, item in enumerate(whole) if i not in personal]
    numbers = sum(item.size for item in experiment.spec)
    assert sum(tensor.size for tensor in decode(found.server.update, experiment.spec).tensors) == numbers
    assert 4 * numbers < len(found.server.update) < 4 * numbers + 500


def test_norms_of_transformers_are_personal_too(tmp_path):
    """One behind the tables, two in each layer; each has a scale and an offset."""
    text = {"task": texts(tmp_path / "texts.npz"), "model.pretrained": str(write(tmp_path / "model")), "clients": 2}
    assert len(resolve(text | {"method": "fedbn"}).personal) == 2 * (1 + 2 * LAYERS)


@pytest.mark.parametrize("method", METHODS)
def test_clients_have_models_of_their_own(method):
    found = federation({"method": method})
    (_, first), (_, third) = split(found, 0), split(found, 2)
    assert not same(first, third)
    start = get_weights(found.experiment.shared_model)
    built = [array for i, array in enumerate(start) if i in found.experiment.personal]
    assert not any(np.array_equal(a, b) for a, b in zip(first, built, strict=True))
    assert all(
        not np.array_equal(a, b) for a, b in zip(found.server.shared, found.experiment.initial_shared(), strict=True)
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"exchange.up": "svd", "exchange.down": "svd"},
        {"exchange.bits": 2, "exchange.feedback": True, "exchange.rounding": "nearest", "exchange.deflate": True},
        {"exchange.up": "topk", "exchange.down": "topk", "exchange.feedback": True},
        {"exchange.up": "sketch", "exchange.down": "sketch"},
        {"train.proximal": 0.1},
    ],
)
def test_all_sides_hold_the_same_bits_whatever_the_codec(more):
    """Client 1 misses a round. The same seed gives the same bytes."""
    ends = [federation({"method": "fedper"} | more) for _ in range(2)]
    assert same(ends[0].server.shared, ends[1].server.shared)
    assert same(ends[0].clients[1].local["teacher"], ends[1].clients[1].local["teacher"])


@pytest.mark.parametrize("method", SOME_SLOW)
def test_one_client_alone_trains_as_if_all_were_shared(method):
    """Whoever shares with nobody has the same model at the end of a round, to the rounding of what it sent."""
    plain = (
        {"clients": 1, "model.teacher_lora": 8, "train.teacher_lr": 1e-3} if method == "fedsa_lora" else {"clients": 1}
    )
    ours = federation({"method": method, "clients": 1}, [(0,)] * 3)
    theirs = federation(plain | {"method": "fedavg_teacher", "edge.sparsity": 0.0}, [(0,)] * 3)
    personal = ours.experiment.personal
    shared = [array for i, array in enumerate(theirs.server.shared) if i not in personal]
    own = [array for i, array in enumerate(theirs.server.shared) if i in personal]
    for a, b in zip([*ours.server.shared, *split(ours, 0)[1]], [*shared, *own], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_round_begins_with_what_is_shared_and_what_is_the_clients_own():
    """A client whose learning rate is next to nothing has the round's model, with its own head."""
    found = federation({"method": "fedper"}, [(0, 1, 2), (0, 1, 2)])
    (_, own), shared = split(found, 0), found.server.shared
    still = federation({"method": "fedper", "train.teacher_lr": 1e-30}, [(0, 1, 2)])
    still.server, still.clients[0] = found.server, found.clients[0]
    still.known_rounds = dict(found.known_rounds)
    still.round([0])
    after, head = split(still, 0)
    kernel = next(i for i, item in enumerate(still.experiment.spec) if item.kernel)
    np.testing.assert_array_equal(after[kernel], shared[kernel])
    assert same(head, own)


def test_a_run_reports_the_clients_models(tmp_path):
    console = Console(file=io.StringIO(), width=300)
    run(TINY | {"method": "fedper"}, "local", tmp_path / "run", False, True, console)
    said = console.file.getvalue()
    assert re.search(r"stays with each client, 2 of 7 tensors: dense\w*/kernel, dense\w*/bias\n", said)
    assert "teachers" in said
    assert "student" not in said.partition("rounds of training")[2]
    assert "shared model" not in said
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["shared_accuracy"] for row in rows] == [row["teacher_mean"] for row in rows]
    assert all(row["teacher_mean"] is not None and row["up_bytes"] > 0 for row in rows)
    assert found["shared"] == "none"
    assert found["edge"] == []
    assert not (tmp_path / "run" / "student.keras").exists()


def test_each_clients_model_can_be_had(tmp_path):
    run(TINY | {"method": "fedper"}, "local", tmp_path / "run", False, True, QUIET)
    models = []
    for client in ("0", "1"):
        file = tmp_path / f"{client}.keras"
        done = CliRunner().invoke(
            app, ["export", str(tmp_path / "run"), "--trust", "--teacher", client, "--out", str(file)]
        )
        assert done.exit_code == 0, done.output
        models.append(keras.saving.load_model(file).get_weights())
    assert not same(*models)
    none = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--trust", "--out", str(tmp_path / "s.keras")])
    assert none.exit_code == 2


@pytest.mark.parametrize("method", ["fedper", pytest.param("local", marks=pytest.mark.slow)])
def test_no_picture_table_or_page_speaks_of_a_shared_model_where_none_is_whole(method, tmp_path):
    run(TINY | {"method": method}, "local", tmp_path / "run", False, True, QUIET)
    found = read(tmp_path / "run")
    assert not found.ships
    axes = quality_by_round(found).axes[0]
    labels = [line.get_label() for line in axes.lines]
    assert any("Teachers" in label for label in labels)
    assert not any("hared" in label for label in labels)
    assert "student" not in _text(summary_table(found.summary)).lower().partition("quality")[2].partition("\n")[0]
    page = write_report(tmp_path / "run").read_text()
    assert "Student (shared)" not in page
    both = comparison([tmp_path / "run", shutil.copytree(tmp_path / "run", tmp_path / "again")])
    assert any("shares no whole model" in line for line in notices(both))


def _text(shown):
    console = Console(file=io.StringIO(), width=200)
    console.print(shown)
    return console.file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_was_cut_off_ends_in_the_same_bytes(method, tmp_path):
    settings = TINY | {"method": method, "exchange.bits": 4, "exchange.feedback": True}
    whole = run(settings | {"rounds": 3}, "local", tmp_path / "whole", False, False, QUIET)
    run(settings, "local", tmp_path / "run", False, True, QUIET)
    resume(tmp_path / "run", "local", QUIET, trust=True, rounds=3)
    hashes = [
        json.loads((folder / "summary.json").read_text())["shared_sha256"] for folder in (whole, tmp_path / "run")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", SOME_SLOW)
def test_litert_trains_them_as_tensorflow_does(method):
    """Without random layers, to the rounding of float32."""
    ends = []
    for engine in ("tensorflow", "litert"):
        still = {"task": "tests.test_personal:still", "train.engine": engine, "train.optimizer": "sgd"}
        ends.append(federation({"method": method} | still, [(0, 1), (0, 1)]))
    for ours, theirs in zip(*(found.clients[0].local["teacher"] for found in ends), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def still():
    """The tests' own task without dropout."""

    def network():
        inputs = keras.Input((6, 6, 1))
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3)(inputs))
        return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(keras.activations.tanh(x))))

    return replace(tiny.task(), teacher=network)


def test_settings_that_ask_for_nothing_decide_nothing():
    assert "exchange.personal" not in deciding(resolve(TINY).config)
    assert deciding(resolve(TINY | {"method": "fedper"}).config)["exchange.personal"] == "head"


@pytest.mark.parametrize(
    "settings, words",
    [
        (
            ["exchange.personal=head"],
            "exchange.personal must be empty where not the teacher alone is trained and shared",
        ),
        (["method=fedper", "exchange.personal=tail"], "exchange.personal must be one of lora_b, head, norms, or empty"),
        (["method=fedper", "edge.sparsity=0.5"], "exchange.personal must be empty with finishing rounds"),
        (
            ["method=fedper", "exchange.units=0.5"],
            "exchange.personal must be empty with train.control_variates, or with",
        ),
        (
            ["method=fedper", "exchange.personal=lora_b"],
            "exchange.personal must be another than lora_b without adapters",
        ),
        (["method=fedsa_lora", "model.lora_freeze_a=true"], "another than lora_b without adapters that train both"),
        (["method=fedper", "edge.precisions=int8"], "edge.precisions must be none with exchange.personal"),
        (["method=fedbn", "task=digits", "clients=2"], "exchange.personal must be empty with"),
    ],
)
def test_what_cannot_stay_is_refused_in_one_line(settings, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [flag for setting in ["task=tests.tiny:task", "clients=2", *settings] for flag in ("--set", setting)]
    result = CliRunner().invoke(app, ["run", *flags])
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
