"""Laws of a node's own examples."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.node.node_config import own_data, state_checked
from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.data.dataset import Dataset
from fedkd.protocol.resolve import resolve
from fedkd.tasks.own import read_own, warning_of, write_own
from fedkd.tasks.registry import load_task
from sims.deploy.check import check_node

ROOT = Path(__file__).parents[2]
DIGITS = load_task("digits", ModelConfig())


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def good():
    return {"x": DIGITS.train.x[:5], "y": DIGITS.train.y[:5]}


def test_a_node_with_its_partitions_rows_trains_on_and_holds_out_the_same(tmp_path):
    experiment = resolve({"task": "digits", "clients": 4, "train.holdout": 0.2})
    write_own(tmp_path / "own.npz", experiment.task.train.take(experiment.rows[2]))
    own = own_data({"data": str(tmp_path / "own.npz")}, experiment.task)
    for dealt, read in zip(experiment.client_data(2), experiment.client_data(2, own), strict=True):
        assert dealt.x.dtype == read.x.dtype
        np.testing.assert_array_equal(dealt.x, read.x)
        np.testing.assert_array_equal(dealt.y, read.y)


def test_stretches_of_recording_survive_the_file(tmp_path):
    data = DIGITS.train.take(np.arange(4))
    data = type(data)(data.x, data.y, segments=np.array([0, 0, 7, 7]))
    write_own(tmp_path / "own.npz", data)
    assert read_own(tmp_path / "own.npz", DIGITS).segments.tolist() == [0, 0, 7, 7]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": np.zeros((5, 7, 8, 1), np.float32)}, r"x must hold examples of shape \(8, 8, 1\) in float32"),
        ({"x": np.zeros((5, 8, 8, 1), np.uint8)}, "got uint8 of shape"),
        ({"x": np.full((5, 8, 8, 1), np.nan, np.float32)}, "x holds NaN or Inf"),
        ({"x": np.zeros((0, 8, 8, 1), np.float32), "y": np.zeros(0, int)}, "no examples"),
        ({"x": np.zeros((4, 8, 8, 1), np.float32)}, "x has 4 rows, y has 5"),
        ({"y": np.array([0, 1, 2, 3, 10])}, "y holds label 10, labels must be from 0 to 9"),
        ({"y": np.array([2**32 + 1, 2**32, 2, 3, 4])}, "y holds label 4294967297, labels must be from 0 to 9"),
        ({"y": np.array([0, 1, 2, 3, 2**64 - 1], np.uint64)}, "y holds label 18446744073709551615"),
        ({"y": np.array([0, 1, 2, 3, -(2**32)])}, "y holds label -4294967296"),
        ({"y": np.zeros(5)}, r"y must be whole numbers of shape \(n,\), got float64"),
    ],
)
def test_examples_of_another_kind_than_the_tasks_are_refused(tmp_path, good, change, message):
    path = saved(tmp_path / "own.npz", **{**good, **change})
    with pytest.raises(InputError, match=message):
        read_own(path, DIGITS)


@pytest.mark.parametrize("word", [4, -1, 2**32, 2**32 + 1])
def test_word_ids_that_the_tasks_models_dont_know_are_refused_before_they_are_cut_to_32_bits(tmp_path, word):
    known = Dataset(np.array([[1, 3, 0]], np.int32), np.zeros(1, np.int32))
    task = replace(DIGITS, train=known, test=known)
    path = saved(tmp_path / "own.npz", x=np.array([[1, word, 0]]), y=np.zeros(1, int))
    with pytest.raises(InputError, match=rf"x holds {word}, the task's models know word ids from 0 to 3"):
        read_own(path, task)


def test_a_file_that_is_missing_damaged_or_lacks_an_array_is_refused(tmp_path, good):
    with pytest.raises(InputError, match=r"no such file; data=FILE.npz takes"):
        read_own(tmp_path / "none.npz", DIGITS)
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(InputError, match=r"not a readable .npz"):
        read_own(tmp_path / "bad.npz", DIGITS)
    with pytest.raises(InputError, match=r"arrays missing: y; needed: x, y"):
        read_own(saved(tmp_path / "half.npz", x=good["x"]), DIGITS)


def test_a_state_folder_that_cant_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"state-dir: .*file/state can't be written"):
        state_checked({"state-dir": str(tmp_path / "file" / "state")})


def test_with_data_on_the_nodes_the_server_deals_none():
    experiment = resolve({"task": "digits", "clients": 2, "rounds": 7, "partition.kind": "nodes"})
    assert experiment.rows == ()
    assert experiment.evaluation_interval == 7
    with pytest.raises(InputError, match=r"start it with data=FILE"):
        experiment.client_data(0)
    with pytest.raises(InputError, match=r"clients must be at least 1 with partition.kind = 'nodes'"):
        resolve({"task": "digits", "partition.kind": "nodes"})


def test_a_node_says_hello_without_tensorflow():
    code = "import sys, clients.node.app, sims.deploy.check; print({'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_examples_in_another_unit_are_warned_of_and_alike_ones_are_not(tmp_path):
    pixels = Dataset(255 * DIGITS.train.x[:20], DIGITS.train.y[:20])
    assert "about 255 times as large as the task's training examples" in warning_of(pixels, DIGITS)
    assert warning_of(DIGITS.train.take(np.arange(20)), DIGITS) == ""
    np.savez(tmp_path / "own.npz", x=pixels.x, y=pixels.y)
    assert check_node({"task": "digits"}, tmp_path / "own.npz", tmp_path / "state")[0] == 20
    assert "measured alike?" in check_node({"task": "digits"}, tmp_path / "own.npz", tmp_path / "state")[1]
