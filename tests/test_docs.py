"""Laws of the documents: what they show is what there is."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from fedkd.methods import METHODS
from fedkd.tasks.named import NAMED
from sims.run import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_readme_shows_the_example_that_runs(tmp_path, monkeypatch):
    example = (ROOT / "examples/my_task.py").read_text().split('"""\n\n', 1)[1]
    assert example in README
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(ROOT)
    settings = {"task": "examples.my_task:task", "rounds": 5, "edge.precisions": "int8"}
    run(settings, "local", tmp_path / "run", False, False, Console(quiet=True))
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["accuracy"]["shared"] > summary["accuracy"]["majority"]


def test_readme_names_every_method_and_every_link_exists():
    assert set(re.findall(r"`(\w+)`", README.split("## Methods")[1].split("##")[0])) >= set(METHODS)
    for link in re.findall(r"\]\(([^)h][^)]*)\)", README):
        assert (ROOT / link).exists(), link


def test_readme_names_every_task():
    assert set(re.findall(r"`([\w:.]+)`", README.split("## Tasks")[1].split("##")[0])) >= set(NAMED) | {"digits"}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.stem
)
def test_modules_and_functions_that_are_named_exist(page):
    for name in re.findall(r"`((?:fedkd|clients|server|sims)\.(?!toml)[\w.]+)", page.read_text()):
        assert is_module(name) or is_function(name), name


def is_module(name):
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def is_function(name):
    module, _, function = name.rpartition(".")
    path = ROOT / (module.replace(".", "/") + ".py")
    return path.exists() and f"def {function}(" in path.read_text()
