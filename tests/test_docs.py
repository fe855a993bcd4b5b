"""Laws of the documents: what they show is what there is."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import fedkd
from fedkd.config.config import Config
from fedkd.config.methods import METHODS
from fedkd.config.settings import to_settings
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
    assert summary["quality"]["shared"] > summary["quality"]["baseline"]


@pytest.mark.slow
def test_the_small_model_is_half_the_work_and_decides_as_well_in_int8(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples/small_model.py"), run_name="__main__")
    whole, half, aware, int8 = capsys.readouterr().out.splitlines()
    (before, macs), (_, fewer) = (figures(line) for line in (whole, half))
    assert fewer <= macs / 2
    assert "0 layers skipped" in aware
    assert figures(int8)[0] > before - 0.02


@pytest.mark.slow
def test_a_transformer_on_a_device_by_what_it_reads(tmp_path, monkeypatch, capsys):
    """Texts of a few words whose first decides, in a run of a round."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).integers(1, 60, (300, 6)).astype(np.int32)
    y = x[:, 0] % 2
    np.savez("texts.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:], classes=["even", "odd"])
    settings = {"model.student_width": 32, "edge.precisions": "none", "edge.sparsity": 0.0}
    given = {"method": "fedavg_student", "clients": 2, "rounds": 1, "finish": "none", "out": "run", "progress": False}
    fedkd.run("npz:texts.npz", settings=settings, **given)
    capsys.readouterr()
    script = str(ROOT / "examples/transformer_on_device.py")
    monkeypatch.setattr(sys, "argv", [script, "run", "--task", "npz:texts.npz", "--rows", "64"])
    runpy.run_path(script, run_name="__main__")
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head in (ROOT / "docs/edge.md").read_text()
    rows = {name: cells for name, *cells in (line.strip("| ").split(" | ") for line in lines)}
    assert rows["float32"][3] == "100.0%"
    sizes = {name: int(cells[0].replace(",", "")) for name, cells in rows.items()}
    assert sizes["int4, GPTQ"] == sizes["int4, AWQ"] == sizes["int4, to the nearest"] < sizes["dynamic"]
    assert sizes["float32, one layer dropped"] < sizes["float32, Wanda 2:4"] == sizes["float32"]
    ratios = {name: float(cells[4]) for name, cells in rows.items()}
    assert ratios["float32"] > ratios["float32, SparseGPT 50 %"] > 0


def figures(line):
    """The share and the number in a line of the example."""
    share, number = re.findall(r"[01]\.\d+|[\d,]{3,}", line)
    return float(share), int(number.replace(",", ""))


def test_readme_names_every_method_and_every_link_exists():
    assert set(re.findall(r"`(\w+)`", README.split("## Methods")[1].split("##")[0])) >= set(METHODS)
    for link in re.findall(r"\]\(([^)h][^)]*)\)", README):
        assert (ROOT / link).exists(), link


def test_readme_names_every_task():
    assert set(re.findall(r"`([\w:.]+)`", README.split("## Tasks")[1].split("##")[0])) >= set(NAMED) | {"digits"}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_pages_name_public_names_only_and_each_is_there(page):
    for name in re.findall(r"(?<![\w./-])fedkd\.(\w[\w.]*\w)", page.read_text()):
        if name not in ("toml", "example"):
            assert name in fedkd.__all__, f"fedkd.{name} is no public name"
            assert getattr(fedkd, name) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_what_pages_and_examples_import_is_public(page):
    for names in re.findall(r"from fedkd import (.+)", page.read_text()):
        assert {name.strip() for name in names.split(",")} <= set(fedkd.__all__)
    assert not re.search(r"(from|import) (fedkd\.|clients|server|sims)", page.read_text())


@pytest.mark.parametrize("key", to_settings(Config()))
def test_every_setting_is_named_in_a_page_or_where_its_section_is_explained(key):
    section, _, name = key.rpartition(".")
    text = "".join(page.read_text() for page in PAGES) + (getattr(Config(), section).__doc__ if section else "")
    assert re.search(rf"\b{re.escape(key)}\b|`{name}\b", text), f"nobody explains {key}"


@pytest.mark.parametrize("name", sorted(fedkd.__all__))
def test_every_public_name_is_there_and_says_what_it_is(name):
    found = getattr(fedkd, name)
    assert not callable(found) or found.__doc__


def test_the_public_face_is_quick_and_starts_no_tensorflow():
    code = "import sys, fedkd; fedkd.Task, fedkd.Regression; print({'tensorflow', 'keras', 'flwr'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"
