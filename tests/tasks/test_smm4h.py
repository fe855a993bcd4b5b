"""Laws of the task of SMM4H's tweets, on files of its layout."""

import io

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import precision_recall_fscore_support

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.objectives.detection import Detection
from fedkd.objectives.objective import quality
from fedkd.objectives.record import of_record, to_record
from fedkd.results.run_folder import read
from fedkd.tasks.registry import load_task
from sims.run import run

MODELS = ModelConfig(teacher_width=8, student_width=8)
DRUGS, ILLS = ("lyrica", "humira", "cymbalta"), ("made me dizzy", 'gave me a "headache"', "and now I can't sleep")


def tweets(count=60, header="tweet_id\tuser_id\tclass\ttweet\n", kinds=("0", "1")):
    """Every third tells of an adverse event; some have single quotes, as tweets do."""
    found = [header]
    for i in range(count):
        ill = i % 3 == 0
        end = ILLS[i // 3 % 3] if ill else ('is "my" friend', '"works', "again today")[i % 3]
        found.append(f"{10**17 + i}\t{i % 9}\t{kinds[int(ill)]}\t@someone {DRUGS[i % 3]} {end}\n")
    return "".join(found)


@pytest.mark.parametrize("header, kinds", [("tweet_id\tuser_id\tclass\ttweet\n", "01"), ("", ("NoADE", "ADE"))])
def test_a_file_with_and_without_names_of_columns_is_read_and_a_fifth_held_apart(tmp_path, header, kinds):
    (tmp_path / "a.tsv").write_text(tweets(60, header, kinds))
    task = load_task("smm4h", MODELS, str(tmp_path / "a.tsv"))
    assert (task.name, task.classes, task.objective) == ("smm4h", ("no_ADE", "ADE"), Detection(("no_ADE", "ADE")))
    assert np.bincount(task.train.y).tolist() == [32, 16]
    assert np.bincount(task.test.y).tolist() == [8, 4]
    assert [metric.name for metric in task.objective.metrics] == ["f1", "precision", "recall", "accuracy", "brier"]
    assert task.baseline == pytest.approx(0.5)  # of always naming ADE: precision 1/3, recall 1


def test_a_folder_has_its_own_test_set(tmp_path):
    (tmp_path / "train.tsv").write_text(tweets())
    (tmp_path / "validation.tsv").write_text(tweets(9))
    task = load_task("smm4h", MODELS, str(tmp_path))
    assert (len(task.train), len(task.test)) == (60, 9)


def test_precision_recall_and_f1_are_scikit_learns():
    rng = np.random.default_rng(0)
    y, outputs = rng.integers(0, 2, 50).astype(np.int32), rng.normal(size=(50, 2)).astype(np.float32)
    objective = Detection(("no", "yes"))
    precision, recall, f1, _ = precision_recall_fscore_support(y, outputs.argmax(1), average="binary")
    found = quality(objective, outputs, y)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((precision, recall, f1))
    assert of_record(to_record(objective)) == objective


@pytest.mark.parametrize(
    "files, words",
    [
        ({}, "must hold train.tsv and one of validation.tsv, valid.tsv, dev.tsv, test.tsv"),
        (
            {"train.tsv": tweets(9, kinds=("0", "maybe")), "dev.tsv": tweets(9)},
            "train.tsv: line 2 has label 'maybe', classes of the training rows are 0, NoADE",
        ),
        ({"train.tsv": tweets(9, kinds="00"), "dev.tsv": tweets(9)}, "train.tsv: class 'ADE' has 0 rows, at least 1"),
        (
            {"train.tsv": "tweet_id\tuser_id\tclass\n1\t2\t0\n", "dev.tsv": tweets(9)},
            "train.tsv: no column for the text: none is called tweet or text; there are: tweet_id, user_id, class",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        load_task("smm4h", MODELS, str(tmp_path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data, words", [("", "needs a file, give --data FILE"), ("none.tsv", "none.tsv: no such file")]
)
def test_without_data_one_line_says_where_they_are_from(data, words):
    with pytest.raises(InputError, match=words) as caught:
        load_task("smm4h", MODELS, data)
    assert "healthlanguageprocessing.org" in str(caught.value)


@pytest.mark.slow
def test_a_run_is_judged_by_f1_of_the_tweets_that_tell_of_one(tmp_path):
    (tmp_path / "a.tsv").write_text(tweets(120))
    settings = {"task": "smm4h", "data": str(tmp_path / "a.tsv"), "method": "fedavg_student", "clients": 2, "rounds": 2}
    settings |= {"model.student_width": 8, "train.batch_size": 8, "train.epochs": 3, "train.student_lr": 0.02}
    settings |= {"edge.sparsity": 0, "edge.precisions": "none"}
    said = io.StringIO()
    folder = run(settings, "local", tmp_path / "run", False, False, Console(file=said, width=120))
    record = read(folder)
    last = record.history[-1]
    assert record.task.metrics[0].name == "f1"
    assert last.shared["f1"] > 0.9
    assert set(last.shared) == {"f1", "precision", "recall", "accuracy", "brier"}
    assert "F1" in said.getvalue()
