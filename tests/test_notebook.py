"""Runs from Python: of named tasks and of tasks that are objects, and what is read of them."""

from dataclasses import replace
from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from nbclient import NotebookClient

import fedkd
from tests import tiny

SETTINGS = {"clients": 2, "edge.precisions": "float32", "edge.finish_rounds": 1}
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return fedkd.run(tiny.task(), rounds=2, settings=SETTINGS, out=out, progress=False)


def test_a_task_that_is_an_object_runs_and_everything_can_be_read(done):
    assert [row.number for row in done.history] == [1, 2, 3]
    assert done.summary.task == "object:tiny"
    assert isinstance(done.student, keras.Model)
    assert [file.precision for file in done.files] == ["float32"]
    assert isinstance(done.plot(), Figure)
    assert (done.folder / "report.html").is_file()
    assert done._repr_html_().startswith("<pre")
    assert "student" in done._repr_html_()
    assert fedkd.open_run(done.folder).summary == done.summary


@pytest.mark.slow
def test_it_has_the_bits_of_the_same_task_by_its_name(done, tmp_path):
    named = fedkd.run("tests.tiny:task", rounds=2, settings=SETTINGS, out=tmp_path / "named", progress=False)
    assert named.summary.shared_sha256 == done.summary.shared_sha256
    assert [row.shared_sha256 for row in named.history] == [row.shared_sha256 for row in done.history]


def test_an_objects_run_says_that_its_configuration_alone_is_not_enough(done, tmp_path):
    with pytest.raises(fedkd.InputError, match="was an object of a Python session"):
        fedkd.run("object:tiny", out=tmp_path / "again")


def test_other_processes_cannot_have_an_object(tmp_path):
    with pytest.raises(fedkd.InputError, match="engine must be local for a task that is an object"):
        fedkd.run(tiny.task(), engine="ray", out=tmp_path / "ray")
    assert list(tmp_path.iterdir()) == []


def test_an_objects_examples_are_checked_like_a_files(tmp_path):
    task = tiny.task()
    broken = replace(task, train=replace(task.train, y=np.full(120, 7, np.int32)))
    with pytest.raises(fedkd.InputError, match="tiny: y_train holds label 7"):
        fedkd.run(broken, out=tmp_path / "broken")


def test_history_is_a_frame_where_pandas_is_there(done):
    pandas = pytest.importorskip("pandas")
    frame = done.history.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.tolist() == [1, 2, 3]


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    with pytest.raises(fedkd.InputError, match="which is not one"):
        fedkd.open_run(tmp_path / "nowhere")


@pytest.mark.slow
def test_the_example_notebook_runs(tmp_path):
    notebook = nbformat.read(ROOT / "examples/notebook.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert any("text/html" in output["data"] for output in shown)
