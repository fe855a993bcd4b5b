"""Laws of the engines: one protocol, the same bytes."""

import json
import shutil

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from rich.console import Console

import clients.node.app
from fedkd.base.errors import NoAnswerError, RunError
from sims.local_grid import LocalGrid
from sims.report.page import write_report
from sims.run import run

SETTINGS = {
    "task": "tests.tiny:task",
    "clients": 4,
    "rounds": 3,
    "fraction": 0.6,
    "partition.kind": "dirichlet",
    "edge.finish_rounds": 1,
    "edge.precisions": "none",
}
KEYS = {
    "name", "method", "task", "seed", "engine", "rounds", "finish_rounds", "clients", "shared", "parameters", "metrics",
    "quality", "others",
    "traffic", "speed", "edge", "versions", "shared_sha256",
}  # fmt: skip


def run_in(folder, engine="local", **settings):
    run({**SETTINGS, **settings}, engine, folder, False, False, Console(quiet=True))
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "run"
    return folder, run_in(folder, **{"edge.precisions": "float32 float16 dynamic int8"})


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_run_leaves_all_it_promises(reference):
    folder, summary = reference
    assert set(summary) == KEYS
    assert set(summary["quality"]) == {
        "shared",
        "teacher_mean",
        "teacher_std",
        "teacher_personal",
        "baseline",
        "finished",
    }
    names = {path.name for path in folder.iterdir()}
    assert {"config.toml", "history.jsonl", "student.keras", "summary.json", "partition.json", "task.json"} <= names
    assert [row["precision"] for row in summary["edge"]] == ["float32", "float16", "dynamic", "int8"]
    for row in summary["edge"]:
        assert (folder / row["path"]).stat().st_size == row["flash_bytes"]
    assert [r["round"] for r in history(folder)] == [1, 2, 3, 4]
    assert [r["phase"] for r in history(folder)] == ["train"] * 3 + ["finish"]
    assert all(len(r["participants"]) == 2 for r in history(folder))


def test_history_adds_up_to_the_traffic(reference):
    """Dense bytes: 2 (up and down) x 4 bytes x parameters x participations / clients."""
    folder, summary = reference
    lines, traffic = history(folder), summary["traffic"]
    assert traffic["up_bytes_per_client"] == sum(r["up_bytes"] for r in lines) / 4
    assert traffic["down_bytes_per_client"] == sum(r["down_bytes"] for r in lines) / 4
    dense = 2 * 4 * summary["parameters"]["teacher"] * sum(len(r["participants"]) for r in lines) / 4
    assert traffic["dense_teacher_bytes_per_client"] == dense
    sent = traffic["up_bytes_per_client"] + traffic["down_bytes_per_client"]
    assert traffic["reduction_vs_teacher"] == pytest.approx(dense / sent)


def test_same_seed_gives_the_same_bytes_whatever_the_threads(reference, tmp_path):
    _, summary = reference
    again = [run_in(tmp_path / str(threads), threads=threads) for threads in (1, 3)]
    assert {s["shared_sha256"] for s in again} == {summary["shared_sha256"]}


@pytest.mark.slow
def test_another_seed_gives_other_bytes(reference, tmp_path):
    assert run_in(tmp_path / "run", seed=1)["shared_sha256"] != reference[1]["shared_sha256"]


@pytest.mark.slow
def test_written_configuration_repeats_the_run(reference, tmp_path):
    from fedkd.config.settings import read_toml

    folder, summary = reference
    again = run_in(tmp_path / "run", **read_toml(folder / "config.toml"))
    assert again["shared_sha256"] == summary["shared_sha256"]


@pytest.mark.parametrize(
    "method", [pytest.param("fedavg_teacher", marks=pytest.mark.slow), "fedavg_student", "fedkd_plus"]
)
def test_every_kind_of_method_runs_to_its_end(method, tmp_path):
    summary = run_in(tmp_path / "run", method=method, rounds=2)
    assert summary["method"] == method
    assert (summary["quality"]["teacher_mean"] is None) == method.startswith("fedavg")
    if method == "fedavg_teacher":
        assert summary["traffic"]["reduction_vs_teacher"] > 0.9


def test_methods_that_share_nothing_send_no_bytes_and_are_as_good_as_their_teachers(tmp_path):
    folder, summary = tmp_path / "run", run_in(tmp_path / "run", method="local", rounds=2)
    assert summary["quality"]["shared"] == summary["quality"]["teacher_mean"]
    assert summary["traffic"]["up_bytes_per_client"] == summary["traffic"]["down_bytes_per_client"] == 0
    assert summary["traffic"]["reduction_vs_teacher"] is None
    assert summary["edge"] == []
    assert not (folder / "student.keras").exists()


def test_teachers_alone_need_not_be_measured_every_round(tmp_path):
    """Rounds 2 and, the last of training, 3 are measured; the report's pictures take the other as it is."""
    run_in(tmp_path / "run", method="local", rounds=3, **{"train.evaluate_every": 2})
    assert [row["shared_accuracy"] is None for row in history(tmp_path / "run")] == [True, False, False]
    assert write_report(tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, figure, most",
    [("brier", "Brier score {:.3g}", 2), ("worst", "worst loss {:.3g} nats", 99)],
)
def test_further_metrics_of_a_task_are_in_everything_a_run_leaves(name, figure, most, tmp_path):
    """One that all classes have, and one of the task's own."""
    folder = tmp_path / "run"
    summary = run_in(folder, task="tests.tiny:scored", rounds=2, **{"train.evaluate_every": 2})
    assert json.loads((folder / "task.json").read_text())["metrics"] == summary["metrics"]
    scores = [row[f"shared_{name}"] for row in history(folder)] + list(summary["others"][name].values())
    assert all(0 < score < most for score in scores)
    teachers = [row.get(f"teacher_{name}") for row in history(folder)]
    assert teachers == [None, summary["others"][name]["teacher_mean"], None]
    assert figure.format(summary["others"][name]["finished"]) in write_report(folder).read_text()


def windows(path, rng):
    y = np.arange(60) % 3
    x = (np.sin(np.arange(32) * (y[:, None] + 1) / 3)[..., None] + rng.normal(0, 0.1, (60, 32, 2))).astype(np.float16)
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y, classes=list("abc"), client_train=np.arange(60) % 2)


def words(path, rng):
    y = np.arange(60) % 2
    x = rng.integers(2, 30, (60, 12)) * (np.arange(12) < rng.integers(4, 13, (60, 1)))
    x[:, 0] = 2 + y
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y, classes=["no", "yes"], client_train=np.arange(60) % 2)


@pytest.mark.slow
@pytest.mark.parametrize("make", [windows, words])
def test_npz_of_sensor_windows_or_words_trains_to_int8(make, tmp_path):
    make(tmp_path / "data.npz", np.random.default_rng(0))
    settings = {"task": f"npz:{tmp_path / 'data.npz'}", "partition.kind": "natural", "fraction": 1.0, "clients": 2}
    sizes = {"model.teacher_width": 8, "model.student_width": 4, "edge.precisions": "int8", "rounds": 1}
    summary = run_in(tmp_path / "run", **settings, **sizes)
    assert summary["edge"][0]["agreement"]["litert"] > 0.8
    others = ["f1", "brier"] if make is words else ["brier"]
    assert [metric["name"] for metric in summary["metrics"]] == ["accuracy", *others]
    assert list(summary["others"]) == others
    assert None not in [figure for held in summary["others"].values() for figure in held.values()]


def with_training(train):
    """The real ClientApp, but for its training handler."""
    app = ClientApp()
    app.query()(clients.node.app.app)
    app.train()(train)
    return app


def failing(*bad):
    """A ClientApp like the real one, but some of whose partitions raise in training."""

    def train(message, context):
        if context.node_config["partition-id"] in bad:
            raise OSError("disk full")
        return clients.node.app.app(message, context)

    return with_training(train)


def serve(client_app, tmp_path):
    import server.app
    from fedkd.config.settings import to_settings
    from fedkd.protocol.resolve import experiment_of

    config = experiment_of({**SETTINGS, "fraction": 1.0}).config
    options = {**to_settings(config), "out": str(tmp_path / "run")}

    def context(node):
        return Context(1, node, {"partition-id": node - 2, "state-dir": str(tmp_path)}, RecordDict(), options)

    grid = LocalGrid(client_app, {i: i + 2 for i in range(4)}, context, 2)
    server.app.app(grid, Context(1, 1, {}, RecordDict(), options))
    return history(tmp_path / "run")


def test_round_goes_on_without_a_client_that_fails(tmp_path):
    lines = serve(failing(2), tmp_path)
    assert all(line["participants"] == [0, 1, 3] for line in lines)
    assert all(line["refused"][0]["reason"] == "error" for line in lines)
    assert "disk full" in lines[0]["refused"][0]["why"]


def test_a_run_whose_clients_find_the_disk_full_ends(tmp_path):
    """It is the disk of all clients: a round without some of them would be no such round."""

    def train(message, context):
        if context.node_config["partition-id"] == 2:
            raise RunError("clients.state can't be written (No space left on device)")
        return clients.node.app.app(message, context)

    with pytest.raises(RunError, match="No space left on device"):
        serve(with_training(train), tmp_path)


def test_run_ends_with_the_reason_where_every_client_fails(tmp_path):
    with pytest.raises(NoAnswerError, match=r"no usable update from any client: .*disk full"):
        serve(failing(0, 1, 2, 3), tmp_path)


def test_apps_hold_the_servers_student_after_every_round_also_with_lost_state(tmp_path):
    """Through Flower: partial participation, and one client's file deleted in the middle of the run."""
    from clients.node.state_folder import StateFolder
    from clients.node.transport import from_records
    from fedkd.base.tensors import digest
    from fedkd.protocol.messages import read_answer, read_offer
    from fedkd.protocol.resolve import experiment_of

    seen, asked = [], []

    def train(message, context):
        partition = context.node_config["partition-id"]
        offer = read_offer(from_records("offer", message))
        folder = tmp_path / f"client-{partition}"
        if offer.round == 3 and partition == 1 and not offer.dense:
            shutil.rmtree(folder)
        reply = clients.node.app.app(message, context)
        if read_answer(from_records("answer", reply)).needs_dense:
            asked.append((offer.round, partition))
        else:
            run = f"{offer.run}:{experiment_of(context.run_config).fingerprint}"
            seen.append((offer.round, partition, offer.base, digest(StateFolder(folder, run).load().base)))
        return reply

    lines = serve(with_training(train), tmp_path)
    assert asked == [(3, 1)]
    assert len(seen) == sum(len(line["participants"]) for line in lines)
    assert all(held == base for _, _, base, held in seen)
    assert all(len({base for r, _, base, _ in seen if r == line["round"]}) == 1 for line in lines)


@pytest.mark.slow
def test_ray_ends_in_the_same_bytes(reference, tmp_path):
    pytest.importorskip("ray")
    assert run_in(tmp_path / "run", engine="ray")["shared_sha256"] == reference[1]["shared_sha256"]
