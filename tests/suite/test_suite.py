"""Laws of running a suite: what it leaves, and that stopping or failing costs only the cells it hit."""

import csv
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import InputError, RunError
from fedkd.config.settings import build
from fedkd.results.run_folder import RunFolder
from fedkd.results.summary import Summary
from sims.cli import app
from sims.suite.cells import run_cells
from sims.suite.folder import claimed, summary_of, write_origin
from sims.suite.plan import Job, plan
from sims.suite.progress import SuiteProgress
from sims.suite.run import command, run_suite
from sims.suite.suite_file import Cell, read_suite

ROOT = Path(__file__).parents[2]
TINY = """
[base]
task = "tests.tiny:task"
clients = 2
rounds = 2
edge.sparsity = 0
edge.precisions = "none"
method = "fedavg_student"

[grid]
seed = [0, 1]
"""
FAILING = """
[[variants]]
name = "aborting"
task = "tests.tiny:aborting"
seed = 0
[[variants]]
name = "raising"
task = "tests.tiny:raising"
seed = 0
[[variants]]
"""


def suite(folder, text):
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def repeated(out):
    """The table without its last column, the seconds."""
    with (out / "results.csv").open() as file:
        return [line[:-1] for line in csv.reader(file)]


def started(run):
    """When a run began, in the file system's clock."""
    return (run / "config.toml").stat().st_mtime_ns


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A suite of which the last two cells are good; the first aborts its process, the second raises."""
    folder = tmp_path_factory.mktemp("suite")
    with pytest.raises(RunError) as caught:
        run_suite(suite(folder, TINY + FAILING), folder / "out", {}, Console(quiet=True))
    return folder / "out", str(caught.value)


def test_failing_and_crashing_cells_are_named_and_the_rest_go_on(done):
    out, error = done
    status = {line[0]: line[5] for line in repeated(out)[1:]}
    assert list(status.values()) == ["missing", "missing", "finished", "finished"]
    assert "2 of 4 cells failed: aborting-aborting-seed0, raising-raising-seed0" in error
    assert "ZeroDivisionError" in (out / "logs/raising-raising-seed0.txt").read_text()


def test_a_cells_row_is_its_summary(done):
    out, _ = done
    with (out / "results.csv").open() as file:
        line = list(csv.DictReader(file))[-1]
    summary = json.loads((out / "cells" / line["cell"] / "summary.json").read_text())
    assert float(line["shared"]) == pytest.approx(summary["quality"]["shared"], rel=1e-5)
    assert float(line["total_mb"]) == pytest.approx(
        (summary["traffic"]["up_bytes_per_client"] + summary["traffic"]["down_bytes_per_client"]) / 1e6, rel=1e-5
    )
    assert line["sha256"] == summary["shared_sha256"]
    assert list(line)[-1] == "seconds"


def test_the_page_holds_the_table_command_machine_and_picture(done):
    out, _ = done
    text = (out / "results.md").read_text()
    assert re.search(r"^\| tests.tiny:task \| fedavg_student \| [\d.]+ ± [\d.]+ \|", text, re.MULTILINE)
    assert "Command: `fedkd suite " in text
    assert "python 3." in text
    assert "Not finished: aborting-aborting-seed0, raising-raising-seed0" in text
    assert (out / re.search(r"\((frontier-.*\.png)\)", text)[1]).exists()


@pytest.mark.slow
def test_only_what_isnt_finished_runs_again_and_ends_in_the_same_table(done, tmp_path):
    """A cell without its summary, and one with other settings, run again; the finished one stays."""
    out = tmp_path / "out"
    shutil.copytree(done[0], out)
    kept, cut = (out / f"cells/fedavg_student-task-seed{seed}" for seed in (0, 1))
    before = started(kept), started(cut)
    (cut / "summary.json").unlink()
    run_suite(suite(tmp_path, TINY), out, {}, Console(quiet=True))
    assert started(kept) == before[0]
    assert started(cut) > before[1]
    assert repeated(out) == [line for line in repeated(done[0]) if line[5] != "missing"]


def test_a_cell_counts_as_finished_with_exactly_its_settings_alone(done, tmp_path):
    out = done[0]
    (same, _), (other, _) = (
        plan(read_suite(suite(tmp_path, text))[1], out) for text in (TINY, TINY.replace("rounds = 2", "rounds = 3"))
    )
    assert summary_of(same) is not None
    assert summary_of(other) is None


@pytest.mark.slow
def test_a_suite_killed_at_any_time_goes_on_to_the_same_table(done, tmp_path):
    out, file = tmp_path / "out", suite(tmp_path, TINY)
    command = [sys.executable, "-c", "from sims.cli import main; main()", "suite", str(file), "--out", str(out)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list(out.glob("cells/*/history.jsonl")):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    run_suite(file, out, {}, Console(quiet=True))
    assert repeated(out) == [line for line in repeated(done[0]) if line[5] != "missing"]


@pytest.mark.parametrize("text", ['[grid]\nmethod = ["magic"]', '[grid]\ntask = ["cats"]', "[grid]\nround = [1]"])
def test_a_suite_that_breaks_a_rule_writes_nothing_and_exits_with_2(tmp_path, text):
    result = CliRunner().invoke(app, ["suite", str(suite(tmp_path, text)), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: cell ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_suites_and_runs_know_each_others_files(tmp_path):
    given = suite(tmp_path, TINY)
    assert "give it to `fedkd suite`" in CliRunner().invoke(app, ["run", str(given)]).stderr
    demo = ROOT / "sims/experiments/demo.toml"
    assert "give it to `fedkd run`" in CliRunner().invoke(app, ["suite", str(demo)]).stderr


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not the folder of a suite"):
        run_suite(suite(tmp_path, TINY), tmp_path / "out", {}, Console(quiet=True))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_folder_with_a_suite_file_of_the_users_own_is_refused_and_kept(tmp_path):
    (tmp_path / "suite.toml").write_text(TINY)
    with pytest.raises(InputError, match="is not the folder of a suite"), claimed(tmp_path, tmp_path / "suite.toml"):
        pass
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("suite.toml", TINY)]


def test_a_suites_folder_is_taken_again_also_where_it_was_cut_off_at_its_start(tmp_path):
    file, cut = suite(tmp_path, TINY), tmp_path / "cut"
    cut.mkdir()
    (cut / ".lock").touch()
    (cut / ".suite.toml").write_text("# Wri")
    for _ in range(2):
        with claimed(cut, file):
            assert (cut / "suite.toml").read_text().endswith(TINY)


def test_two_suites_dont_write_into_one_folder(tmp_path):
    file = suite(tmp_path, TINY)
    with (
        claimed(tmp_path / "out", file),
        pytest.raises(InputError, match="another suite is at work"),
        claimed(tmp_path / "out", file),
    ):
        pass


def test_a_process_that_dies_between_two_cells_costs_none_of_them(tmp_path):
    """Both cells are of a task that doesn't exist, and both come to say so."""

    class Killing(SuiteProgress):
        def end(self, job, error):
            super().end(job, error)
            for child in multiprocessing.active_children():
                child.kill()
                child.join()

    jobs = [
        Job(Cell(name, name, {}, {}), build({"task": "cats"}), tmp_path / name, tmp_path / f"{name}.txt")
        for name in ("first", "second")
    ]
    failures = run_cells(jobs, 1, Killing(2, 0, Console(quiet=True)))
    assert list(failures) == ["first", "second"]
    assert all(error.startswith("unknown task 'cats'") for error in failures.values())


def test_the_command_is_read_by_a_shell_as_it_was_given():
    data = {"npz:my file.npz": "a'b $x.npz"}
    assert shlex.split(command(Path("my suite.toml"), Path("o p"), data)) == [
        "fedkd", "suite", "my suite.toml", "--out", "o p", "--data", "npz:my file.npz=a'b $x.npz",
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["", 'edge.precisions = "int8"'])
def test_a_cell_of_a_method_that_shares_nothing_is_finished_without_device_files(tmp_path, given):
    text = f'[base]\ntask = "tests.tiny:task"\nmethod = "local"\nclients = 2\n{given}'
    (job,) = plan(read_suite(suite(tmp_path, text))[1], tmp_path / "out")
    RunFolder.create(job.folder, job.config, False).write_summary(Summary())
    assert summary_of(job) is None
    write_origin(job.folder)
    assert summary_of(job) == Summary()


def test_a_dead_process_is_told_by_its_signal():
    from sims.suite.worker import _how

    assert _how(-signal.SIGABRT) == "was ended by SIGABRT"
    assert _how(-signal.SIGKILL) == "was ended by SIGKILL, perhaps for want of memory"
    assert _how(3) == "ended with code 3"
