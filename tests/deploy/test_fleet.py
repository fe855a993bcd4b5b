"""Laws of what is said of a fleet: Flower's answers and a run's history, put together."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import RunError
from fedkd.results.round import Round
from fedkd.results.run_folder import RunFolder
from sims.cli import app
from sims.deploy import flower
from sims.deploy.deployed import Deployed
from sims.deploy.fleet import Member, fleet, missing
from sims.deploy.flower import Node, Run, read_nodes, read_runs
from sims.deploy.status import table_of
from tests.deploy import answers

NAMES = ("kitchen", "attic", "pi3")
IDS = {0: "70", 1: "71", 2: "72"}
NODES = [Node("70", "online", 1000.0), Node("71", "registered"), Node("72", "offline", 900.0)]
FIGURES = {"seconds": (2.5, 4.0), "peak_bytes": (8.4e8, None)}


def round_(number, participants, refused=(), clients=FIGURES):
    known = {"shared": {"accuracy": 0.5}, "participants": participants, "refused": refused}
    return Round(number, 9, "train", **known, clients=clients)


def refusal(client, node, reason="no_answer"):
    return {"client": client, "node": node, "reason": reason, "why": "no answer within 60 s"}


def test_flowers_answers_say_since_when_and_leave_out_what_is_gone():
    rows = (
        answers.node("70", "online", online="1970-01-01 00:16:40Z", offline="1970-01-01 00:10:00Z"),
        answers.node("71"), answers.node("72", "offline", "1970-01-01 00:10:00Z", "1970-01-01 00:15:00Z"),
        answers.node("73", "unregistered", "1970-01-01 00:10:00Z"),
    )  # fmt: skip
    assert read_nodes(answers.nodes(*rows)) == NODES


def test_runs_come_newest_first():
    older = answers.run("2", "finished:stopped", "2026-11-29 19:00:26Z")
    found = read_runs(answers.runs(older, answers.run("1", "pending")))
    assert found == [Run("1", "pending"), Run("2", "finished:stopped")]
    assert [run.finished for run in found] == [False, True]


@pytest.mark.parametrize("read, answer", [(read_nodes, {"nodes": [{}]}), (read_nodes, {}), (read_runs, {"runs": [3]})])
def test_an_answer_of_another_form_is_one_line(read, answer):
    with pytest.raises(RunError, match=r"^flwr (supernode list|ls): its answer isn't understood .*$"):
        read(answer)


def test_a_node_is_what_flower_says_with_its_last_round():
    history = [round_(1, (0, 2)), round_(2, (2, 1), clients={}), round_(3, (0, 1))]
    kitchen, attic, pi3 = fleet(NAMES, IDS, NODES, history)
    assert kitchen == Member(0, "kitchen", "online", 1000.0, 3, 2.5, 8.4e8)
    assert attic == Member(1, "attic", "never online", None, 3, 4.0, None)
    assert pi3 == Member(2, "pi3", "offline", 900.0, 2)


def test_refusals_are_counted_and_the_last_is_named_by_client_or_by_id():
    history = [
        round_(1, (0, 2), [refusal(1, 71), refusal(None, 71, "error"), refusal(None, None, "absent")]),
        round_(2, (0, 2), [refusal(None, 72, "malformed"), "junk"]),
    ]
    kitchen, attic, pi3 = fleet(NAMES, IDS, NODES, history)
    assert [member.refusals for member in (kitchen, attic, pi3)] == [0, 2, 1]
    assert attic.why == "round 1: error: no answer within 60 s"
    assert pi3.why.startswith("round 2: malformed")


def test_nodes_that_nobody_remembers_are_listed_and_their_names_are_not_said_to_be_missing():
    assert [m.state for m in fleet(NAMES, {}, [], [])] == ["not registered"] * 3
    found = fleet(NAMES, {0: "70"}, NODES, [])
    assert [m.state for m in found] == ["online", "unknown", "unknown", "never online", "offline"]
    assert [(m.number, m.name) for m in found[3:]] == [(None, "71"), (None, "72")]
    assert missing(found) == "1 of 3 nodes is online"


def test_what_is_missing_is_named_and_nothing_where_all_are_there():
    assert missing(fleet(NAMES, IDS, NODES)) == "1 of 3 nodes is online; missing attic (never online), pi3 (offline)"
    assert missing(fleet(NAMES, IDS, [])).endswith(
        "kitchen (not registered), attic (not registered), pi3 (not registered)"
    )
    assert missing(fleet(NAMES, IDS, [Node(id_, "online", 0.0) for id_ in IDS.values()])) == ""


def test_a_table_has_a_row_a_node_and_says_what_isnt_known_by_a_dash():
    console = Console(file=io.StringIO(), width=240)
    console.print(table_of(fleet(NAMES, IDS, NODES, [round_(4, (0, 2), [refusal(1, 71)])]), 1060.0))
    heads, *rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert heads[:4] == ["node", "name", "state", "since"]
    assert rows[0] == ["0", "kitchen", "online", "1", "minute", "ago", "4", "2.5", "840", "MB", "0"]
    assert rows[1][:8] == ["1", "attic", "never", "online", "–", "–", "–", "–"]
    assert " ".join(rows[1][8:]) == "1 round 4: no_answer: no answer within 60 s"


def test_classes_of_devices_have_a_column_where_there_are_any():
    console = Console(file=io.StringIO(), width=240)
    history = [replace(round_(4, (0, 2)), classes=("", "zero"))]
    console.print(table_of(fleet(NAMES, IDS, NODES, history), 1060.0))
    heads, *rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert heads[:4] == ["node", "name", "class", "state"]
    assert [row[2] for row in rows[:3]] == ["–", "–", "zero"]


def test_the_command_shows_the_run_that_was_started_last(deployment, monkeypatch, tmp_path):
    deployed = Deployed.read(deployment.folder)
    deployed.remember_ids({0: "70", 1: "71"})
    asked = {"supernode": answers.nodes(answers.node("70", "online", "2026-11-29 20:00:12Z")), "ls": answers.runs()}
    monkeypatch.setattr(flower, "flwr", lambda env, *arguments: asked[arguments[0]])
    assert "no run yet; --out RUN shows its rounds" in call("status", deployment.folder).output
    deployed.remember_run(tmp_path / "run")
    asked["ls"] = answers.runs(answers.run("5", "running"))
    assert f"run 5: running; no round has ended in {tmp_path / 'run'}" in call("status", deployment.folder).output
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").append(round_(1, (0, 1)))
    shown = call("status", deployment.folder)
    assert (shown.exit_code, "\x1b" in shown.output) == (0, False)
    assert f"run 5: running; 1 of 9 rounds are in {tmp_path / 'run'}" in shown.output
    assert "840 MB" in shown.output
    live = call("status", deployment.folder, "--live")
    assert (live.exit_code, "--live is for a terminal" in live.output) == (2, True)


def call(*arguments):
    return CliRunner().invoke(app, ["deploy", *map(str, arguments)])
