"""Laws of tracking: logs hold every round once, also of a run that went on, and what can't be had is said at once."""

import csv
import importlib.util
import json
import os
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from fedkd.config.settings import build
from fedkd.results.device_file import DeviceFile
from fedkd.results.round import Round
from fedkd.results.run_folder import RunFolder
from sims.cli import app
from sims.track.trackers import TRACKERS, followed, log_run, opened
from tests.report.runs import a_round, a_summary_file, write


def a_tracked_round(number: int) -> dict[str, object]:
    """A round in which client 0 sent 2 kB and client 1 sent 1 kB."""
    clients = {"examples": [40, 60], "up_bytes": [2000, 1000], "seconds": [0.5, None], "teacher_accuracy": [0.25, 0.75]}
    return a_round(number, clients=clients, loss={"student": 1 / number, "teacher": None}, refused=[])


def a_run(folder: Path, rounds: int = 4, summary: bool = True) -> Path:
    write(folder, [a_tracked_round(number) for number in range(1, rounds + 1)], a_summary_file() if summary else None)
    (folder / "config.toml").write_text('task = "digits"\nseed = 3\nrounds = 4\n[train]\nepochs = 2\n')
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_hold_every_figure_of_a_run(tmp_path: Path) -> None:
    run = a_run(tmp_path / "[run]")
    log_run(run, opened(["csv"]))
    rounds = table(run / "csv/rounds.csv")
    assert [row["round"] for row in rounds] == ["1", "2", "3", "4"]
    assert [float(row["shared_accuracy"]) for row in rounds] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [row["teacher_mean"] for row in rounds] == ["", "0.5", "", "0.9"]
    assert [float(row["loss_student"]) for row in rounds] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert (rounds[3]["up_bytes"], rounds[3]["down_bytes"], rounds[3]["seconds"]) == ("3000.0", "1000.0", "2.0")
    clients = table(run / "csv/clients.csv")
    assert [(row["round"], row["client"], row["up_bytes"], row["seconds"]) for row in clients[:2]] == [
        ("1", "0", "2000.0", "0.5"), ("1", "1", "1000.0", ""),
    ]  # fmt: skip
    assert len(clients) == 8
    files = table(run / "csv/files.csv")
    assert [(row["precision"], row["flash_bytes"], row["quality_litert"]) for row in files] == [
        ("float32", "9000.0", "0.8"), ("int8", "3000.0", "0.79"), ("int16x8", "", ""),
    ]  # fmt: skip
    assert files[2]["error"]
    assert {row["setting"]: row["value"] for row in table(run / "csv/settings.csv")} == {
        "task": "digits", "seed": "3", "rounds": "4", "train.epochs": "2",
    }  # fmt: skip


def append(run: Path, number: int, **changes: object) -> None:
    RunFolder(run).append(Round.from_json(a_tracked_round(number) | changes))


def go_on(run: Path, name: str, numbers: range) -> None:
    """A run that goes on: its history is cut to what it goes on from, after trackers have begun."""
    config = build({"task": "digits", "seed": 3, "train.epochs": 2, "rounds": 9})
    with followed(run, opened([name]), config, Console(file=StringIO())):
        RunFolder(run).keep(numbers[0] - 1)
        for number in numbers:
            append(run, number, up_bytes=100 * number)


def test_a_run_that_goes_on_has_no_round_twice(tmp_path: Path) -> None:
    """Round 3 was written down, and comes again."""
    run = a_run(tmp_path / "run", rounds=3, summary=False)
    log_run(run, opened(["csv"]))
    go_on(run, "csv", range(3, 5))
    rows = table(run / "csv/rounds.csv")
    assert [row["round"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["up_bytes"] for row in rows] == ["3000.0", "3000.0", "300.0", "400.0"]
    assert len(table(run / "csv/clients.csv")) == 8
    assert {"setting": "rounds", "value": "9"} in table(run / "csv/settings.csv")


def test_a_run_that_refuses_to_go_on_keeps_its_log(tmp_path: Path) -> None:
    """It was to go back to a round that isn't kept, say; only what ends in it begins a log anew."""
    run = a_run(tmp_path / "run", rounds=3)
    log_run(run, opened(["csv"]))
    before = {path.name: path.read_bytes() for path in (run / "csv").iterdir()}
    with pytest.raises(InputError), followed(run, opened(["csv"]), build({"task": "digits"}), Console()):
        raise InputError("--from-round must be one of the rounds that are kept")
    assert {path.name: path.read_bytes() for path in (run / "csv").iterdir()} == before
    with followed(run, opened(["csv"]), build({"task": "digits"}), Console()):
        pass  # its files alone were made
    assert len(table(run / "csv/rounds.csv")) == len(table(run / "csv/files.csv")) == 3


def test_tensorboard_reads_every_round_once_and_the_settings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run = a_run(tmp_path / "run", rounds=3, summary=False)
    (run / "tensorboard").mkdir()
    (run / "tensorboard/mine").touch()
    log_run(run, opened(["tensorboard"]))
    go_on(run, "tensorboard", range(3, 5))
    RunFolder(run).write_summary(replace(RunFolder(a_run(tmp_path / "other")).summary, name="run"))  # type: ignore[type-var]
    log_run(run, opened(["tensorboard"]))
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    assert [(event.step, event.value) for event in log.Scalars("bytes/up_bytes")] == [
        (1, 3000), (2, 3000), (3, 300), (4, 400),
    ]  # fmt: skip
    assert [event.step for event in log.Scalars("client_teacher_accuracy/1")] == [1, 2, 3, 4]
    assert [event.value for event in log.Scalars("file_flash_bytes/int8")] == [3000]
    (summary,) = (log.summary_metadata["_hparams_/session_start_info"],)
    settings = HParamsPluginData.FromString(summary.plugin_data.content).session_start_info.hparams
    assert (settings["train.epochs"].number_value, settings["task"].string_value) == (2, "digits")
    assert (run / "tensorboard/mine").exists()


def test_a_client_has_one_name_in_tensorboard_whoever_else_takes_part(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rounds = [
        a_round(number, participants=participants, clients={"examples": [40, 60]}, refused=[])
        for number, participants in enumerate([[3, 9], [3, 12], [0, 3]], 1)
    ]
    write(tmp_path / "run", rounds, None)
    (tmp_path / "run/config.toml").write_text('task = "digits"\nclients = 20\n')
    log_run(tmp_path / "run", opened(["tensorboard"]))
    log = EventAccumulator(str(tmp_path / "run/tensorboard"))
    log.Reload()
    assert [event.step for event in log.Scalars("client_examples/03")] == [1, 2, 3]


@pytest.mark.slow
def test_mlflow_reads_every_round_once_and_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting up its database takes it some seconds."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    run = a_run(tmp_path / "run", rounds=2, summary=False)
    log_run(run, opened(["mlflow"]))
    client, first = mlflow.MlflowClient(), (run / "mlflow_run_id").read_text().strip()
    assert client.get_run(first).info.status == "KILLED"
    go_on(run, "mlflow", range(3, 5))
    assert client.get_run(first).data.tags["now.rounds"] == "9"
    a_run(run)
    log_run(run, opened(["mlflow"]))
    held = client.get_run(first)
    assert held.info.status == "FINISHED"
    known = {"task": "digits", "seed": "3", "rounds": "4", "train.epochs": "2", "train.optimizer": "adam"}
    assert held.data.params.items() >= known.items()
    assert held.data.tags["now.rounds"] == "4"
    steps = [metric.step for metric in client.get_metric_history(first, "quality/shared_accuracy")]
    assert steps == [1, 2, 3, 4]
    assert len(client.get_metric_history(first, "client_teacher_accuracy/1")) == 4
    assert held.data.metrics["file_flash_bytes/int8"] == 3000
    go_on(run, "mlflow", range(2, 3), from_round=1)
    second = (run / "mlflow_run_id").read_text().strip()
    assert client.get_run(first).data.tags["fedkd.replaced_by"] == second
    assert [metric.step for metric in client.get_metric_history(second, "quality/shared_accuracy")] == [1, 2]


def test_a_tracker_that_fails_is_left_out_and_said_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, said = a_run(tmp_path / "run", rounds=1, summary=False), StringIO()

    class Broken(TRACKERS["csv"]):  # type: ignore[misc, name-defined]
        def add(self, row: Round) -> None:
            raise ConnectionError("the server has gone away")

    monkeypatch.setitem(TRACKERS, "csv", Broken)
    with followed(run, opened(["csv"]), build({"task": "digits"}), Console(file=said, width=400)):
        append(run, 2)
        append(run, 3)
    assert said.getvalue().strip() == (
        "warning: --track csv: its log ends here (ConnectionError: the server has gone away);"
        f" `fedkd report {run} --track csv` brings it up to date"
    )


def test_what_cant_be_had_is_said_in_one_line_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in ("mlflow", "tensorboard") else found(name)
    )
    for name in ("mlflow", "tensorboard"):
        with pytest.raises(InputError, match=rf"--track {name}: {name} isn't installed; pip install 'fedkd\[{name}\]'"):
            opened(["csv", name])
    for command in (["run"], ["suite", "none.toml"], ["report", "none"]):
        result = CliRunner().invoke(app, [*command, "--track", "wandb"])
        assert (result.exit_code, result.stderr) == (2, "error: --track takes tensorboard, mlflow, csv, got 'wandb'\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_run_is_tracked_while_it_runs(tmp_path: Path) -> None:
    """What its tables hold is what its history and summary hold."""
    out = tmp_path / "run"
    options = ["--task", "tests.tiny:task", "--clients", "2", "--rounds", "2", "--finish", "none", "--track", "csv"]
    result = CliRunner().invoke(app, ["run", *options, "--set", "edge.precisions=float32", "--out", str(out)])
    assert result.exit_code == 0, result.output
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    rows = table(out / "csv/rounds.csv")
    assert [float(row["shared_accuracy"]) for row in rows] == [row["shared_accuracy"] for row in history]
    clients = table(out / "csv/clients.csv")
    for name in ("examples", "up_bytes", "down_bytes", "seconds", "norm", "loss_teacher", "loss_student"):
        assert [float(row[name]) for row in clients] == [value for row in history for value in row["clients"][name]]
    assert sum(float(row["up_bytes"]) for row in clients) == sum(row["up_bytes"] for row in history)
    assert sum(float(row["down_bytes"]) for row in clients) == sum(row["down_bytes"] for row in history)
    means = [row["clients"]["teacher_accuracy"] for row in history if "teacher_accuracy" in row["clients"]]
    assert sum(means[-1]) / 2 == pytest.approx(history[-1]["teacher_mean"])
    counts = json.loads((out / "confusion.json").read_text())["counts"]
    right, total = sum(row[place] for place, row in enumerate(counts)), sum(map(sum, counts))
    assert (right / total, total) == (pytest.approx(history[-1]["shared_accuracy"]), 60)
    assert [row["precision"] for row in table(out / "csv/files.csv")] == ["float32"]
    assert DeviceFile.from_json(json.loads((out / "summary.json").read_text())["edge"][0]).made
