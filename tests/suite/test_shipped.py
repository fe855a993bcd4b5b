"""Laws of the experiments that come with fedkd: they are found by name from any folder, and are in the wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from sims.cli import app
from sims.experiments import experiment_file, experiments

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for path in (ROOT / "sims/experiments").glob("*.toml")}


def test_experiments_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert experiments() == FILES
    assert len(FILES) >= 10
    assert experiment_file(Path("demo")) == FILES["demo"]


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("rounds = 1")
    assert experiment_file(Path("demo")) == Path("demo")
    for other in ("demo.toml", "./smoke.toml", "suites/smoke"):  # a file was meant, and whoever reads it says so
        assert experiment_file(Path(other)) == Path(other)


def test_an_unknown_name_is_told_those_there_are():
    with pytest.raises(InputError, match=r"^dmeo: no such file, and no experiment that comes with fedkd: .*demo, .*"):
        experiment_file(Path("dmeo"))


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["run", "smoke"], "smoke: a suite, not the configuration of one run: give it to `fedkd suite`"),
        (["suite", "demo"], "the configuration of one run, not a suite: give it to `fedkd run`"),
        (["run", "nothing"], "nothing: no such file, and no experiment that comes with fedkd"),
        (["suite", "nothing.toml"], "nothing.toml: can't be read"),
        (["run", "demo", "--rounds", "0"], "rounds must be at least 1, got 0"),
    ],
)
def test_commands_take_names(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert said in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_wheel_holds_every_experiment(tmp_path):
    source = tmp_path / "source"
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "tests", "docs", "runs")
    shutil.copytree(ROOT, source, ignore=left_out)
    command = [sys.executable, "-P", "-m", "pip", "wheel", "--no-deps", "-w", tmp_path / "wheels", source]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("fedkd-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for name, path in FILES.items():
        assert held[f"sims/experiments/{name}.toml"] == path.read_bytes()
