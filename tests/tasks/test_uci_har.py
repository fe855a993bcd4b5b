"""Laws of reading UCI's zip, on a small one of its form: windows of 4 steps that overlap by 2."""

import io
import zipfile

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.tasks.registry import load_task
from fedkd.tasks.uci_har import read

ACTIVITIES = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
SIGNALS = ("body_acc", "body_gyro", "total_acc")
# Windows 0 and 1 are of one stretch of recording, the others each of their own.
STARTS = (0, 2, 20, 40)


def text(rows):
    return "\n".join("  ".join(f"{value: .7e}" for value in row) for row in rows) + "\n"


def files(root="UCI HAR Dataset/", **changes):
    held = {"activity_labels.txt": "".join(f"{i + 1} {name}\n" for i, name in enumerate(ACTIVITIES))}
    for split, people in (("train", (1, 1, 3, 30)), ("test", (2, 2, 4, 4))):
        held[f"{split}/y_{split}.txt"] = "5\n5\n1\n6\n"
        held[f"{split}/X_{split}.txt"] = "features that are not read"
        held[f"{split}/subject_{split}.txt"] = "".join(f"{person}\n" for person in people)
        for i, signal in enumerate(f"{kind}_{axis}" for kind in SIGNALS for axis in "xyz"):
            rows = [[100 * i + start + step for step in range(4)] for start in STARTS]
            held[f"{split}/Inertial Signals/{signal}_{split}.txt"] = text(rows)
    return {root + name: content for name, content in {**held, **changes}.items() if content is not None}


def zipped(held):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def inner(**changes):
    shadow = {"__MACOSX/UCI HAR Dataset/train/y_train.txt": b"\x00\x05"}
    return zipped({**files(**changes), **shadow})


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("nested", [False, True])
def test_zip_gives_windows_people_and_stretches(tmp_path, nested):
    content = zipped({"UCI HAR Dataset.names": "", "UCI HAR Dataset.zip": inner()}) if nested else inner()
    held = read(write(tmp_path / "har.zip", content))
    assert held["x_train"].shape == (4, 4, 9)
    assert held["x_train"].dtype == np.float32
    np.testing.assert_array_equal(held["x_train"][1, 3], 5 + 100 * np.arange(9))
    assert held["y_test"].tolist() == [4, 4, 0, 5]
    assert held["client_train"].tolist() == [1, 1, 3, 30]
    assert held["segment_train"].tolist() == [0, 0, 1, 2]
    assert held["classes"].tolist() == list(ACTIVITIES)


def test_task_has_the_people_as_natural_clients(tmp_path):
    task = load_task("uci_har", ModelConfig(), str(write(tmp_path / "har.zip", inner())))
    assert task.train.owners.tolist() == [1, 1, 3, 30]
    assert task.train.segments.tolist() == [0, 0, 1, 2]
    assert task.defaults["partition.kind"] == "natural"


@pytest.mark.parametrize(
    "content, words",
    [
        (b"no zip", "not readable as UCI's HAR data"),
        (zipped({"thesis.tex": ""}), "the zip holds no activity_labels.txt"),
        (inner(**{"train/subject_train.txt": None}), "the zip holds no subject_train.txt"),
        (inner(**{"test/y_test.txt": "five\n"}), "not readable as UCI's HAR data"),
        (inner(**{"test/Inertial Signals/body_acc_x_test.txt": "1 2 3 4\n"}), "not readable as UCI's HAR data"),
        (inner()[:-50], "not readable as UCI's HAR data"),
    ],
)
def test_other_and_damaged_zips_are_refused_in_one_line(tmp_path, content, words):
    with pytest.raises(InputError) as caught:
        read(write(tmp_path / "har.zip", content))
    assert f"{tmp_path}/har.zip: " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
