"""Laws of the command line."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fedkd.config.methods import method as find
from fedkd.config.settings import read_toml
from sims.cli import _without_preset, app

FEDKD = [sys.executable, "-c", "from sims.cli import main; main()"]
ROOT = Path(__file__).parents[1]


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def bad_file(path):
    np.savez(path, x_train=np.zeros((4, 8, 8), np.uint8))
    return path


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--task", "cats"], "unknown task 'cats'"),
        (["--method", "magic"], "unknown method 'magic'; known: fedkd"),
        (["--set", "train.epoch=3"], "unknown key 'train.epoch': did you mean 'train.epochs'?"),
        (["--set", "exchange.energy_end=1.5"], "exchange.energy_end must be in (0, 1], got 1.5"),
        (["--set", "rounds"], "--set takes key=value, got 'rounds'"),
        (["--clients", "5000"], "clients must be at most the number of training examples, 1437, got 5000"),
        (["--engine", "cloud"], "engine must be one of local, ray, got 'cloud'"),
        (["--task", "npz:none.npz"], "none.npz: no such file"),
        (["--fraction", "0"], "fraction must be in (0, 1], got 0.0"),
        (["--partition", "natural"], "got 'natural': the data name no clients"),
        (["none.toml"], "none.toml: can't be read"),
        (["--task", "ade"], "task 'ade' needs a file, give --data FILE: an .npz of word ids made from ade_corpus_v2"),
        (["--task", "uci_har", "--data", "x.zip"], "x.zip: no such file; task 'uci_har' takes UCI HAR Dataset.zip"),
        (["--data", "x.npz"], "data must be empty with task 'digits'"),
        (["--set", "partition.examples=1438"], "partition.examples must be at most the number of training examples"),
    ],
)
def test_bad_input_gets_one_line_and_code_2_and_writes_nothing(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = call("run", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_malformed_file_is_named(tmp_path):
    result = call("run", "--task", f"npz:{bad_file(tmp_path / 'bad.npz')}", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "bad.npz: arrays missing: y_train" in result.stderr


def test_existing_folder_is_kept_unless_it_is_a_run_to_overwrite(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for flags in ([], ["--overwrite"]):
        result = call("run", "--out", tmp_path, *flags)
        assert result.exit_code == 2
        assert str(tmp_path) in result.stderr
        assert (tmp_path / "thesis.tex").exists()


def test_other_commands_refuse_bad_input_alike(tmp_path):
    for arguments in (["report", tmp_path / "none"], ["evaluate", tmp_path / "none.tflite", "--task", "digits"]):
        result = call(*arguments)
        assert result.exit_code == 2
        assert "none" in result.stderr


def test_an_unknown_runtime_is_refused_with_the_known_ones(tmp_path):
    result = call("evaluate", tmp_path / "any.tflite", "--task", "digits", "--runtime", "cuda")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: --runtime must be one of litert, litert_reference, tflm, pi4, got 'cuda'\n",
    )


def test_help_names_every_option_with_its_default():
    text = call("run", "--help").output
    for option in (
        "--task",
        "--data",
        "--method",
        "--clients",
        "--rounds",
        "--partition",
        "--alpha",
        "--fraction",
        "--seed",
    ):
        assert option in text
    assert text.count("(default:") >= 8


def test_lists_of_tasks_and_methods():
    assert "npz:PATH" in call("tasks").output
    assert "fedavg_teacher" in call("methods").output


def test_run_evaluate_and_report_agree(tmp_path):
    """`fedkd evaluate` on the int8 file prints the accuracy that the summary holds."""
    run = tmp_path / "run"
    sizes = ["--rounds", "2", "--clients", "3", "--set", "edge.finish_rounds=1", "--set", "edge.precisions=int8"]
    done = call("run", "--out", run, *sizes)
    assert done.exit_code == 0, done.output
    assert "(images, 8 x 8 x 1)" in " ".join(done.output.split())
    summary = json.loads((run / "summary.json").read_text())
    printed = call("evaluate", run / "student_int8.tflite", "--task", "digits").output
    assert f"accuracy {summary['edge'][0]['quality']['litert']:.4f} in litert (" in printed
    printed = call("evaluate", run / "student_int8.tflite", "--task", "digits", "--runtime", "litert_reference").output
    assert re.search(r"accuracy 0\.\d{4} in litert_reference \(", printed)
    if importlib.util.find_spec("tflite_micro"):
        printed = call("evaluate", run / "student_int8.tflite", "--task", "digits", "--runtime", "tflm").output
        assert re.search(r"accuracy 0\.\d{4} in tflm \(\d+ of 360 test examples\), arena [\d,]+ B", printed)
    (run / "report.html").unlink()
    assert call("report", run).exit_code == 0
    assert (run / "report.html").exists()


@pytest.mark.slow
def test_named_task_runs_on_part_of_a_file_that_evaluate_finds_again(tmp_path, monkeypatch):
    """The test set is never cut; the file's path is relative when given, absolute in the run's configuration."""
    monkeypatch.chdir(tmp_path)
    x, y = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8), np.arange(90) % 10
    np.savez("small.npz", x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    sizes = ["partition.examples=50", "edge.calibration=2", "edge.sparsity=0.0", "edge.precisions=float32"]
    flags = [word for size in sizes for word in ("--set", size)]
    done = call("run", "--task", "mnist", "--data", "small.npz", "--rounds", "1", "--clients", "2", *flags)
    assert done.exit_code == 0, done.output
    run = tmp_path / "runs/mnist-fedkd-0"
    assert read_toml(run / "config.toml")["data"] == str(tmp_path / "small.npz")
    counts = np.array(json.loads((run / "partition.json").read_text())["counts"])
    assert counts.sum() == 50 - 2
    assert "of 30 test examples" in call("evaluate", run / "student_float32.tflite", "--task", "mnist").output


def test_another_method_drops_all_that_the_one_before_set(tmp_path):
    """What central fixes goes with it, what the user set stays."""
    held = {"method": "central", "rounds": 7, **find("central").settings, **find("central").fixed}
    assert _without_preset(held, "fedkd") == {"method": "central", "rounds": 7}
    assert _without_preset(held, "central") == held


@contextmanager
def long_run(folder, command=FEDKD):
    """A run of 500 rounds, two of which have ended."""
    command = [*command, "run", "--task", "tests.tiny:task", "--out", str(folder), "--rounds", "500"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_rounds(child, folder, 2)
        yield child
    finally:
        child.kill()  # a run that nobody waits for would keep a core


def wait_for_rounds(child, folder, rounds):
    end = time.monotonic() + 120
    while not ((folder / "history.jsonl").exists() and rounds_of(folder) >= rounds):
        assert time.monotonic() < end
        assert child.poll() is None
        time.sleep(0.1)


def rounds_of(folder):
    return len((folder / "history.jsonl").read_text().splitlines())


def test_interrupted_run_leaves_its_history_and_says_how_far_it_came(tmp_path):
    run = tmp_path / "run"
    with long_run(run) as child:
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert child.returncode == 130
    assert re.search(rf"interrupted after round {len(lines)} of 503; `fedkd run --resume {run} --trust` goes", errors)
    assert call("report", run).exit_code == 0


@pytest.mark.slow
def test_a_run_in_the_background_leaves_ctrl_c_to_others_and_ends_in_order_by_kill(tmp_path):
    run = tmp_path / "run"
    background = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from sims.cli import main; main()"
    with long_run(run, [sys.executable, "-c", background]) as child:
        child.send_signal(signal.SIGINT)
        wait_for_rounds(child, run, rounds_of(run) + 2)
        child.terminate()
        _, errors = child.communicate(timeout=60)
    assert (child.returncode, f"interrupted after round {rounds_of(run)} of 503; `fedkd run" in errors) == (130, True)


def test_version_is_told_with_the_libraries_that_decide_a_runs_bytes():
    said = call("--version")
    assert said.exit_code == 0
    assert re.fullmatch(r"fedkd \d+\.\d+\.\d+ \(flwr \S+, keras \S+, tensorflow \S+, numpy \S+\)\n", said.output)
    assert "from data to a TFLite model" in call("--help").output
