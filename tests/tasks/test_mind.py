"""Laws of the task of MIND's news, on files of its layout."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.models.inspect import parameters
from fedkd.objectives.ranking import Ranking
from fedkd.protocol.resolve import resolve
from fedkd.tasks.registry import load_task
from tests import mind_folder, pretrained_folder

MODELS = ModelConfig(teacher_width=8, student_width=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mind_folder.write(tmp_path_factory.mktemp("mind") / "data")


def tiny(folder, behaviors, news="ABCDEFG"):
    """Both splits of a few news, whose titles are a letter each, and some lines of behaviors."""
    for name in ("train", "dev"):
        (folder / name).mkdir(parents=True)
        lines = [f"{letter}\tc\ts\tletter {letter}\t\tu\t[]\t[]\n" for letter in news]
        (folder / name / "news.tsv").write_text("".join(lines))
        (folder / name / "behaviors.tsv").write_text("".join(f"{line}\n" for line in behaviors))
    return folder


def letters(task, x):
    """The titles of a row as letters, - for none; a title is `letter X`, and words are numbered by their letters."""
    titles = x.reshape(-1, 2)
    ids = {int(title[1]): letter for title, letter in zip(np.unique(task, axis=0), "ABCDEFG", strict=False)}
    return "".join(ids[int(title[1])] if title.any() else "-" for title in titles)


def test_a_row_is_the_last_clicks_and_a_click_among_four_that_were_passed_over(tmp_path):
    lines = ["1\tU1\tt\tA B C\tD-0 E-1 F-0 G-1", "2\tU2\tt\t\tA-0 B-1", "3\tU3\tt\tA\tB-1", "4\tU3\tt\tA\tB-0"]
    place = tiny(tmp_path / "x", lines)
    task = load_task("mind", MODELS, f"{place}#history=2,clients=users")
    words = np.array([[2, i] for i in range(3, 10)])  # "letter" is the most frequent, then A to G
    rows = [letters(words, x) for x in task.train.x]
    assert [row[:2] for row in rows] == ["BC", "BC", "--"]
    assert ["".join(sorted(row[2:])) for row in rows] == ["DDEFF", "DDFFG", "AAAAB"]
    clicked = [row[2:][int(np.argmax(y[1:]))] for row, y in zip(rows, task.train.y, strict=True)]
    assert clicked == ["E", "G", "B"]
    assert task.train.y[:, 0].tolist() == [0, 0, 1]  # impressions 3 and 4 have no choice in them
    assert task.train.owners.tolist() == ["U1", "U1", "U2"]
    assert task.train.segments.tolist() == [0, 0, 1]


def test_a_test_impression_is_cut_into_rows_that_hold_each_candidate_once(folder):
    task = load_task("mind", MODELS, f"{folder}#test=all")
    lines = [line.rstrip("\n").split("\t") for line in (folder / "dev/behaviors.tsv").open()]
    numbers, y = task.test.y[:, 0], task.test.y[:, 1:]
    for number, (_, _, _, history, shown) in enumerate(lines):
        marks = y[numbers == number]
        assert (marks >= 0).sum() == len(shown.split())
        assert (marks == 1).sum() == shown.count("-1")
        titles = task.test.x[numbers == number].reshape(len(marks), -1, task.test.x.shape[1] // 11)
        assert (titles[0, :6].any(1).sum(), len(titles[0])) == (len(history.split()), 11)
        assert np.array_equal(titles[:, 6:].any(2), marks >= 0)
    few = load_task("mind", MODELS, f"{folder}#test=7")
    assert len(np.unique(few.test.y[:, 0])) == 7


def test_clients_are_four_folds_of_users_and_a_users_impressions_are_one_clients(folder):
    experiment = resolve({"task": "mind", "data": str(folder), "model.teacher_width": 8, "model.student_width": 8})
    assert (experiment.config.clients, experiment.config.partition.kind) == (4, "natural")
    one = resolve({"task": "mind", "data": f"{folder}#clients=users", "partition.minimum": 2})
    assert one.config.clients == 12
    task = experiment.task
    users = load_task("mind", MODELS, f"{folder}#clients=users").train.owners
    assert all(len(np.unique(task.train.owners[users == user])) == 1 for user in np.unique(users))
    assert np.bincount([task.train.owners[users == user][0] for user in np.unique(users)]).tolist() == [3, 3, 3, 3]
    with pytest.raises(InputError, match=r"clients must be at most 12, the users there are, got 13"):
        load_task("mind", MODELS, f"{folder}#clients=13")
    train, held = experiment.client_data(0)
    assert not set(train.y[:, 0]) & set(held.y[:, 0])  # an impression is on one side


def test_seeds_and_names_of_folders(folder, tmp_path):
    place = mind_folder.write(tmp_path / "big", names=("MINDsmall_train", "MINDsmall_dev"))
    first, same, other = (load_task("mind", MODELS, each) for each in (str(folder), str(place), f"{folder}#seed=1"))
    assert np.array_equal(first.train.x, same.train.x)
    assert not np.array_equal(first.train.x, other.train.x)
    assert first.objective == Ranking.of(5)
    assert first.baseline == pytest.approx(0.5)
    assert parameters(first.teacher()) > parameters(first.student())


def test_titles_are_cut_by_a_pretrained_models_tokenizer(folder, tmp_path):
    bert = pretrained_folder.write(tmp_path / "roberta", "roberta")
    task = load_task("mind", ModelConfig(pretrained=str(bert), teacher_layers=2, student_layers=1), str(folder))
    model, ids = task.student(), pretrained_folder.vocabulary("roberta")
    titles = task.test.x.reshape(-1, task.test.x.shape[1] // 11)
    assert set(titles[:, 0]) == {ids["<s>"], ids["<pad>"]}  # a title, or none
    assert model.get_layer("embedding").words.shape[0] == len(ids)
    assert model(task.test.x[:3])["logits"].shape == (3, 5)


BAD = "1\tU1\tt\tA\tB-1 C-0"


@pytest.mark.parametrize(
    "lines, words",
    [
        (["1\tU1\tt\tA"], "train/behaviors.tsv: line 1 must have 5 fields, as many as columns, got 4"),
        ([BAD, "2\tU1\tt\tZ\tB-1 C-0"], "line 2 names news 'Z', which news.tsv beside it doesn't hold"),
        ([BAD, "2\tU1\tt\tA\tB-2 C-0"], "line 2: impressions must be NEWS-1 (clicked) or NEWS-0, got 'B-2'"),
        (["1\tU1\tt\tA\tB-1"], "no impression has both a click and news that were passed over"),
        ([], "train/behaviors.tsv: the file is empty"),
    ],
)
def test_bad_lines_are_named(tmp_path, lines, words):
    with pytest.raises(InputError) as caught:
        load_task("mind", MODELS, str(tiny(tmp_path / "x", lines)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data, words",
    [
        ("", "task 'mind' needs a folder, give --data FOLDER: the folder of MIND with behaviors.tsv"),
        ("none", "none: no such folder"),
        (".", "must hold one folder train with behaviors.tsv and news.tsv, got none"),
        (".#clients=0", "clients must be a whole number from 1 or users, got '0'"),
        (".#test=some", "test must be a whole number from 1 or all, got 'some'"),
        (".#words=3", "what is behind # must be of clients, history, test, seed, got 'words'"),
    ],
)
def test_what_is_not_there_is_one_line(data, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_task("mind", MODELS, data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
