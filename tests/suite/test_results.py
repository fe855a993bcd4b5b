"""Laws of a suite's table: what a row says of its cells."""

from dataclasses import replace

import numpy as np

from fedkd.objectives.metric import ACCURACY
from fedkd.results.device_file import DeviceFile
from fedkd.results.summary import Quality, Summary
from sims.suite.groups import groups, lines_by, varied_number
from sims.suite.plan import plan
from sims.suite.results import csv_text, further_metrics, row, varied_keys
from sims.suite.suite_file import read_suite
from sims.suite.table import markdown_table
from tests.suite.test_suite import suite


def a_summary(shared, megabytes, metric=ACCURACY, **more):
    traffic = {"up_bytes_per_client": megabytes * 1e6, "down_bytes_per_client": 0, "reduction_vs_teacher": 10.0}
    held = Summary(metrics=[metric], quality=Quality(shared), traffic=traffic, shared_sha256="ab")
    return replace(held, speed={"seconds": 1.0}, **more)


def table(jobs, summaries, varied=()):
    """Rows of a suite's CSV, and its groups."""
    others = further_metrics(summaries)
    rows = [row(job, summary, varied, others) for job, summary in zip(jobs, summaries, strict=True)]
    return rows, groups(jobs, summaries, rows)


def test_means_and_standard_deviations_over_seeds(tmp_path):
    """0.90, 0.92 and 0.94 have the mean 0.92 and the sample standard deviation 0.02; 1, 2 and 3 MB: 2 and 1."""
    jobs = plan(read_suite(suite(tmp_path, "[base]\nclients = 2\n[grid]\nseed = [0, 1, 2]"))[1], tmp_path)
    found = [a_summary(0.90, 1.0), a_summary(0.92, 2.0), a_summary(0.94, 3.0)]
    _, gathered = table(jobs, found)
    lines = markdown_table(gathered).splitlines()
    assert lines[0] == "| task | method | accuracy, % | MB a client | times less | seeds |"
    assert lines[2] == "| digits | fedkd | 92.00 ± 2.00 | 2.00 ± 1.00 | 10.0 ± 0.0 | 3 |"


def test_int8_files_are_compared_with_the_model_after_training(tmp_path):
    """It had 90 % and 92 %, the files 91 % and 92 %: half a point above on average; one of them couldn't be made."""
    jobs = plan(read_suite(suite(tmp_path, "[base]\nclients = 2\n[grid]\nseed = [0, 1, 2]"))[1], tmp_path)
    files = [{"precision": "int8", "path": "s.tflite", "accuracy": a, "bytes": 8000} for a in (0.91, 0.92)]
    files.append({"precision": "int8", "path": None, "error": "no ranges"})
    found = [
        a_summary(shared, 1.0, files=[DeviceFile.from_json(file)])
        for shared, file in zip((0.90, 0.92, 0.91), files, strict=True)
    ]
    _, gathered = table(jobs, found)
    heads, _, line = markdown_table(gathered).splitlines()
    cells = dict(zip(heads.split(" | "), line.split(" | "), strict=True))
    assert cells["int8 in LiteRT, %"] == "91.50 ± 0.71"
    assert cells["int8 - accuracy, points"] == "0.50 ± 0.71"
    assert cells["int8, kB"] == "8.00 ± 0.00"


def test_cells_of_other_settings_are_rows_of_their_own_and_missing_ones_none(tmp_path):
    text = "[base]\nclients = 2\n[grid]\ntrain.epochs = [1, 2]\nseed = [0, 1]"
    jobs = plan(read_suite(suite(tmp_path, text))[1], tmp_path)
    assert varied_keys(jobs) == ["train.epochs"]
    rows, gathered = table(jobs, [*[a_summary(0.5, 1.0)] * 3, None], ["train.epochs"])
    assert [(group.title, len(group.members)) for group in gathered] == [
        ("fedkd, epochs 1", 2), ("fedkd, epochs 2", 1),
    ]  # fmt: skip
    assert csv_text(rows).splitlines()[-1] == "fedkd-digits-epochs=2-seed1,fedkd,fedkd,digits,1,2,missing" + "," * 13


def test_a_class_of_devices_is_varied_like_any_key_and_cells_may_lack_it(tmp_path):
    text = """
        [base]
        clients = 10
        [grid]
        "classes.zero.share" = [0.0, 0.3]
        [[variants]]
        [[variants]]
        name = "whole"
        classes.zero.share = 1.0
        classes.zero.teacher = "none"
        [[variants]]
        name = "paper"
        classes.five.share = 0.5
        classes.zero.share = 0.0
    """
    jobs = plan(read_suite(suite(tmp_path, text))[1], tmp_path)
    assert [job.cell.name for job in jobs] == [
        "fedkd-digits-share=0.0-seed0", "fedkd-digits-share=0.3-seed0", "whole-digits-seed0", "paper-digits-seed0",
    ]  # fmt: skip
    assert varied_keys(jobs) == ["classes.zero.share", "classes.zero.teacher", "classes.five.share"]
    rows, _ = table(jobs, [a_summary(0.5, 1.0)] * 4, varied_keys(jobs))
    assert [each["classes.five.share"] for each in rows] == [None, None, None, 0.5]


def test_bytes_are_compared_with_the_suites_own_fedavg_of_the_teacher(tmp_path):
    """It sent 8 MB and 4 MB on average 6, the other one 2: three times less."""
    jobs = plan(read_suite(suite(tmp_path, '[grid]\nmethod = ["fedavg_teacher", "fedkd"]\nseed = [0, 1]'))[1], tmp_path)
    found = [a_summary(0.9, megabytes) for megabytes in (8.0, 4.0, 1.0, 3.0)]
    _, gathered = table(jobs, found)
    lines = markdown_table(gathered).splitlines()
    assert lines[0].endswith("| times less | than fedavg_teacher | seeds |")
    assert [line.split("|")[-3].strip() for line in lines[2:]] == ["1.00", "3.00"]


def test_a_picture_is_drawn_along_the_last_key_with_three_numbers(tmp_path):
    text = "[grid]\nclients = [2, 3, 4]\ntrain.epochs = [1, 2]\nseed = [0, 1]"
    jobs = plan(read_suite(suite(tmp_path, text))[1], tmp_path)
    _, found = table(jobs, [a_summary(job.config.clients / 10, 1.0) for job in jobs], ["clients", "train.epochs"])
    assert varied_number(found) == "clients"
    line = {2: [0.2, 0.2], 3: [0.3, 0.3], 4: [0.4, 0.4]}
    assert lines_by("clients", found, "shared") == {"fedkd, epochs 1": line, "fedkd, epochs 2": line}
    assert varied_number(found[:4]) is None


def test_tables_call_a_task_by_its_files_name(tmp_path, monkeypatch):
    """The configuration of the run holds the absolute path of its file, the CSV what the suite says."""
    monkeypatch.chdir(tmp_path)
    x, y = np.zeros((60, 8, 8), np.uint8), np.arange(60) % 3
    np.savez("mine.npz", x_train=x, y_train=y, x_test=x, y_test=y, classes=["a", "b", "c"])
    jobs = plan(read_suite(suite(tmp_path, '[base]\ntask = "npz:mine.npz"\nclients = 2'))[1], tmp_path)
    rows, gathered = table(jobs, [a_summary(0.5, 1.0)])
    assert jobs[0].config.task == f"npz:{tmp_path / 'mine.npz'}"
    assert rows[0]["task"] == "npz:mine.npz"
    assert "| mine |" in markdown_table(gathered)
