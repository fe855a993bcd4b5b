"""Laws of reading a run's folder back."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fedkd.base.errors import InputError
from fedkd.objectives.metric import ACCURACY
from fedkd.results.run_folder import read
from fedkd.results.summary import Quality, Summary
from sims.report.table import summary_table
from tests.report.runs import NASTY, a_round, a_summary_file, lines, write


def test_a_run_reads_back_what_it_wrote(finished: Path) -> None:
    run = read(finished)
    assert run.summary is not None
    assert run.summary == Summary.from_json(a_summary_file())
    assert Summary.from_json(run.summary.to_json()) == run.summary
    assert {key: value for key, value in run.summary.to_json().items() if key != "edge"} == {
        key: value for key, value in a_summary_file().items() if key != "edge"
    }
    assert [row.number for row in run.history] == [1, 2, 3, 4]
    assert run.partition is not None
    assert run.partition.counts == ((5, 0), (1, 7))
    assert run.config == f'name = "{NASTY}"\n'


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_a_folder_without_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"history\.jsonl"):
        read(tmp_path)


def test_a_truncated_last_line_is_ignored(tmp_path: Path) -> None:
    run = lines(tmp_path, json.dumps(a_round(1)), json.dumps(a_round(2))[:30])
    assert [row.number for row in read(run).history] == [1]


def test_a_malformed_middle_line_is_named_by_file_and_number(tmp_path: Path) -> None:
    run = lines(tmp_path, json.dumps(a_round(1)), '{"round": 2, "rou', json.dumps(a_round(3)), "")
    with pytest.raises(InputError, match=r"history\.jsonl, line 2: .*'\{\"round\": 2, \"rou'"):
        read(run)


@pytest.mark.parametrize(
    ("line", "rule"),
    [("[1]", "one JSON object"), ('{"round": 1}', "'rounds'"), (json.dumps(a_round(1, up_bytes="3")), "up_bytes")],
)
def test_a_line_that_is_no_round_says_which_rule_it_breaks(tmp_path: Path, line: str, rule: str) -> None:
    with pytest.raises(InputError, match=f"line 1: .*{rule}"):
        read(lines(tmp_path, line, ""))


def test_a_round_repeated_after_a_restart_counts_once(tmp_path: Path) -> None:
    rows = [a_round(1), a_round(2), a_round(2, up_bytes=7), a_round(3)]
    assert [row.up_bytes for row in read(write(tmp_path, rows)).history] == [3000, 7, 3000]


def test_a_partition_with_a_count_too_few_names_the_client(tmp_path: Path) -> None:
    run = write(tmp_path, [a_round(1)], classes=["a", "b"], counts=[[1, 2], [3]])
    with pytest.raises(InputError, match="client 1 must have 2 counts, a class each, got 1"):
        read(run)


def test_a_clients_bytes_are_the_mean_over_all_clients(tmp_path: Path) -> None:
    """Four kilobytes a round both ways, over two clients."""
    assert read(write(tmp_path, [a_round(1), a_round(2)])).bytes_per_client() == [2000, 4000]


def test_the_headline_is_what_ships_and_says_what_came_before():
    """After few rounds pruning costs a lot: a student of 83 % and files of 74 % are two models."""
    held = Quality(shared=0.831, teacher_mean=0.9, finished=0.742)
    summary = Summary("run", "fedkd", "digits", clients=3, rounds=2, finish_rounds=3, metrics=(ACCURACY,))
    console = Console(width=100, record=True, quiet=False, file=io.StringIO())
    console.print(summary_table(replace(summary, quality=held), None, "always the largest class"))
    text = console.export_text()
    assert "student 74.2 % (83.1 % before finishing)" in text
    assert Quality(shared=0.5).shipped == 0.5
