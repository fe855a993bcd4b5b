"""Flower's own engine ends in the same bytes. In a file of its own, for a process of its own: it takes a minute."""

import json

import pytest
from rich.console import Console

from sims.run import run
from tests import flower


@pytest.mark.slow
def test_flwr_run_ends_in_the_same_bytes(tmp_path):
    """The bundled digits, since a task of the tests is not in the app that Flower bundles."""
    pytest.importorskip("ray")
    settings = {"task": "digits", "clients": 3, "rounds": 2, "edge.finish_rounds": 1, "train.epochs": 1}
    expected = run(settings, "local", tmp_path / "local", False, False, Console(quiet=True))
    flower.run_app(settings, tmp_path / "flwr", tmp_path, supernodes=3)
    hashes = [json.loads((p / "summary.json").read_text())["shared_sha256"] for p in (expected, tmp_path / "flwr")]
    assert hashes[0] == hashes[1]
