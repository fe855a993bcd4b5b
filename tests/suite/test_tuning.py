"""Laws of a suite's trials: alike for every variant, judged by what clients hold out, and followed."""

import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from fedkd.base.errors import InputError, RunError
from fedkd.config.settings import build, read_toml
from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.results.round import Round
from fedkd.results.run_folder import read
from sims.suite.plan import Job
from sims.suite.run import run_suite
from sims.suite.suite_file import Cell, expand
from sims.suite.trials import Choice, trials_table
from sims.suite.tuning import best, held_out

TUNED = """
[base]
task = "tests.tiny:task"
clients = 2
rounds = 2
train.holdout = 0.3
edge.sparsity = 0
edge.precisions = "none"

[grid]
seed = [0, 1]

[tuning]
rounds = 3

[[variants]]
name = "as it is"
method = "fedavg_student"

[[variants]]
name = "student"
method = "fedavg_student"
tuning."train.student_lr" = [1e-9, 0.02]

[[variants]]
name = "teacher"
method = "fedavg_teacher"
tuning."train.teacher_lr" = [0.02, 1e-9]
"""


def suite(folder, text=TUNED):
    path = folder / "tuned.toml"
    path.write_text(text)
    return path


def run(folder, text=TUNED):
    return run_suite(suite(folder, text), folder / "out", {}, Console(file=(folder / "said.txt").open("a")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a suite that ran to its end."""
    return run(tmp_path_factory.mktemp("tuned"))


@pytest.fixture
def again(finished, tmp_path):
    """A copy of that, in which ``run`` goes on."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def two_of(*variants, **tables):
    return {"variants": list(variants), **tables}


def measured(figures, examples, name="shared_personal", number=2):
    return Round(number, 9, "train", clients={name: figures, "examples": examples})


def test_trials_of_a_variant_are_the_product_of_its_lists_with_a_seed_of_their_own():
    tables = two_of(
        {"name": "v", "tuning": {"train": {"epochs": [1, 3]}, "loss.temperature": [1, 2]}},
        base={"rounds": 9},
        grid={"seed": [0, 1], "task": ["digits", "other"]},
        tuning={"rounds": 4},
    )
    cells = expand(tables)
    assert [len(cell.trials) for cell in cells] == [4] * 4
    assert cells[0].trials == cells[2].trials != cells[1].trials  # seeds share them, tasks don't
    (name, first), *_ = [(trial.name, dict(trial.settings)) for trial in cells[1].trials]
    assert name == "v-other-epochs=1-temperature=1-seed1000"
    assert first == {
        "method": "fedkd", "task": "other", "seed": 1000, "rounds": 4, "train.epochs": 1, "loss.temperature": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "tables, words",
    [
        (two_of({"name": "a", "tuning": {"x": [1, 2]}}, {"name": "b", "tuning": {"y": [1]}}), "'a' 2, 'b' 1"),
        (two_of({"name": "a"}, tuning={"rounds": 3}), "none has a table variants.tuning"),
        (two_of({"name": "a", "rounds": 3, "tuning": {"rounds": [1, 2]}}), "can't choose rounds"),
        (two_of({"name": "a", "tuning": {"seed": [1, 2]}}), "can't choose seed"),
        (two_of({"name": "a", "tuning": {"x": [1]}}, grid={"x": [1, 2]}), "can't choose x"),
        (two_of({"name": "a", "tuning": {"x": 1}}), "x must be a list"),
        (two_of({"name": "a", "tuning": [1]}), "tuning must be a table"),
        (two_of({"name": "a", "tuning": {"x": [1]}, "tasks": {"digits": {"x": 2}}}), "can't choose x, which is set"),
        (two_of({"name": "a", "tuning": {"train.holdout": [0.1, 0.2]}}), "must have in common"),
        (two_of({"name": "a", "tuning": {"x": [1e-3, 0.001]}}), "tuning.x must have each value once"),
        (two_of({"name": "a", "tuning": {"x": [1, 2]}}, tuning={"x": 3}), "so no trial is to set it"),
        (
            two_of({"name": "a", "tuning": {"x": [1, 2]}}, tuning={"method": "local"}),
            "must have the method of the cells",
        ),
        (two_of({"tuning": {"x": [1, 2]}}, {"method": "local", "tuning": {"x": [1, 2, 3]}}), "'' 2, '' 3"),
    ],
)
def test_trials_that_would_not_be_alike_or_free_are_refused(tables, words):
    with pytest.raises(InputError, match=re.escape(words)):
        expand(tables)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("[tuning]\nrounds = 3", "[tuning]\nrounds = 1", "rounds must be 2 or more: clients measure"),
        ("train.holdout = 0.3", "train.holdout = 0", "train.holdout must be above 0: trials are judged by"),
    ],
)
def test_trials_that_can_not_be_judged_are_refused_before_any_runs(tmp_path, old, new, words):
    with pytest.raises(InputError, match=rf"^trial student-task-student_lr=1e_09-seed1000: .*{words}"):
        run(tmp_path, TUNED.replace(old, new))
    assert not (tmp_path / "out").exists()


def test_what_clients_hold_out_is_weighed_by_their_examples_and_meant_over_the_last_quarter_of_the_rounds():
    """Of five rounds in which they measured the last two count: .4 weighed by 30 of 40 examples, and .6."""
    early = [measured([0.0, 0.0], [10, 30])] * 3
    rounds = [*early, measured([0.0, 0.4], [10, 30]), measured([None, 0.6], [10, 30]), Round(6, 6, "train")]
    assert held_out(rounds, ACCURACY) == pytest.approx((0.3 + 0.6) / 2)
    assert held_out([measured([0.5], [3], "teacher_personal")], ACCURACY) == 0.5
    for nothing in (Round(2, 2, "train"), measured([0.5], [3], number=1)):
        with pytest.raises(InputError, match=r"train\.holdout must be above 0, and a trial must have 2 rounds"):
            held_out([nothing], ACCURACY)


def test_the_best_is_the_first_among_equals_and_the_least_where_less_is_better():
    assert best([0.1, 0.3, 0.3], ACCURACY) == 1
    assert best([0.2, 0.1, 0.3, 0.1], Scale("mae", "mean absolute error", better="lower")) == 1


@pytest.mark.slow
def test_cells_follow_the_best_trial_and_those_without_trials_are_as_they_were(finished):
    out = finished
    rates = {
        name: build(read_toml(out / "cells" / f"{name}-task-seed1" / "config.toml")).train
        for name in ("as_it_is", "student", "teacher")
    }
    assert rates["student"].student_lr == rates["teacher"].teacher_lr == 0.02
    assert rates["as_it_is"].student_lr not in (0.02, 1e-9)
    assert len(list((out / "trials" / "cells").iterdir())) == 4
    page = (out / "results.md").read_text()
    for method, key in (("student", "student_lr"), ("teacher", "teacher_lr")):
        for rate, chosen in (("0.02", "yes"), ("1e-09", "")):
            trial = out / "trials" / "cells" / f"{method}-task-{key}={rate.replace('-', '_')}-seed1000"
            figure = 100 * held_out(read(trial).history, ACCURACY)
            assert f"| {method} | train.{key} {rate} | 3 | 1000 | {figure:.2f} | {chosen} |" in page


@pytest.mark.slow
def test_a_suite_goes_on_without_its_finished_trials_and_leaves_the_same_table(finished, again, tmp_path):
    run(tmp_path)
    before, after = (without_command(out / "results.md") for out in (finished, again))
    assert after == before
    assert "4 of 4 trials were finished before" in (tmp_path / "said.txt").read_text()
    assert "trial 4/4" in (finished.parent / "said.txt").read_text()


def without_command(page):
    return [line for line in page.read_text().splitlines() if not line.startswith("Command: ")]


@pytest.mark.slow
def test_a_trial_that_can_not_be_read_is_named_and_what_others_decided_stays_in_the_table(again, tmp_path):
    out = again
    broken = out / "trials" / "cells" / "teacher-task-teacher_lr=0.02-seed1000"
    (broken / "history.jsonl").write_text("junk\n{}\n")
    with pytest.raises(InputError, match=rf"^trial {broken.name}: .*; remove .*{broken.name} to run it again$"):
        run(tmp_path)
    page = (out / "results.md").read_text()
    assert re.search(r"\| student \| [\d.]+ ± ", page)
    assert "Not finished: teacher-task-seed0, teacher-task-seed1." in page
    figures = Choice(tuple(read_job(name) for name in "ab"), ACCURACY, (0.5, 0.5))
    assert "| first of 2 equal |" in trials_table({"a": figures})


def read_job(name):
    cell = Cell(name, name, {"x": name}, {"task": "digits"})
    return Job(cell, build({}), Path(name), Path(name))


@pytest.mark.slow
def test_cells_wait_for_trials_that_failed(tmp_path):
    text = TUNED.replace('method = "fedavg_teacher"', 'method = "fedavg_teacher"\ntask = "tests.tiny:raising"')
    with pytest.raises(RunError, match=r"^2 of 4 trials failed: .*trials.logs$"):
        run(tmp_path, text)
    assert not (tmp_path / "out" / "cells").exists()
    page = (tmp_path / "out" / "results.md").read_text()
    assert "No cell is finished." in page
    assert "Not finished:" in page
