"""Laws of a run that doesn't begin: what it lacks is said once, and again when that changes."""

import io

import pytest
from rich.console import Console

from fedkd.base.errors import RunError
from sims.deploy import flower
from sims.deploy.deployed import Deployed
from sims.deploy.waiting import Waiting, what_lacks


@pytest.fixture
def said(deployment, monkeypatch, tmp_path):
    """A run that may take no time to begin, what Flower knows of its nodes, and what was said of it so far."""
    Deployed.read(deployment.folder).remember_ids({0: "70", 1: "71"})
    known = [flower.Node("70", "online", 0.0), flower.Node("71", "registered")]
    monkeypatch.setattr(flower, "nodes", lambda env: known)
    console = Console(file=io.StringIO(), width=40)

    def waiting(patience=0.0):
        return Waiting(Deployed.read(deployment.folder), tmp_path / "history.jsonl", console, patience)

    return waiting, known, lambda: console.file.getvalue().splitlines()


LACKS = "waiting: 1 of 2 nodes is online; missing node-1 (never online)"


def test_a_minute_passes_before_anything_is_said(said):
    waiting, _, lines = said
    waiting(60.0).heard("pending")
    assert lines() == []


def test_what_is_missing_is_said_once_and_again_when_it_changes(said):
    waiting, known, lines = said
    run = waiting()
    for status in ("running", "running"):
        run.heard(status)
    known[1] = flower.Node("71", "offline", 5.0)
    run.heard("running")
    known[1] = flower.Node("71", "offline", 9.0)
    run.heard("running")
    known[1] = flower.Node("71", "online", 5.0)
    run.heard("running")
    assert lines() == [LACKS, LACKS.replace("never online", "offline")]


def test_nothing_is_said_once_a_round_has_ended(said, tmp_path):
    waiting, _, lines = said
    history = tmp_path / "history.jsonl"
    history.write_text("of before\n")
    run = waiting()
    history.write_text("of before\nof now\n")
    run.heard("running")
    assert lines() == []
    waiting().heard("running")  # one that goes on has ended no round of its own yet
    assert lines() == [LACKS]


def test_a_superlink_that_doesnt_answer_is_for_others_to_complain_of(said, monkeypatch):
    waiting, _, lines = said

    def silent(env):
        raise RunError("no answer")

    monkeypatch.setattr(flower, "nodes", silent)
    waiting().heard("running")
    assert lines() == []


def test_a_run_that_nobody_starts_is_told_from_one_without_nodes():
    assert what_lacks("running", "") == ""
    assert what_lacks("pending", "") == "run pending: no SuperExec asks for work, is start-superexec.sh up?"
