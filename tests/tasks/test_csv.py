"""Laws of tasks from CSV and TSV files, on small ones that are written here."""

import csv

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.base.task_name import absolute_task
from fedkd.config.model import ModelConfig
from fedkd.protocol.resolve import resolve
from fedkd.results.run_folder import run_path
from fedkd.tasks.delimited import read_table
from fedkd.tasks.registry import load_task
from sims.deploy.check import check_task
from tests import pretrained_folder

MODELS = ModelConfig()


def write(path, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def rows(count=20, kinds=("no", "yes")):
    """Texts of which the last word tells the class, and three people who wrote them."""
    return [[f'so, "well"\nword{i % 4} {kinds[i % 2]}', kinds[i % 2], f"p{i % 3}"] for i in range(count)]


def table(path, header=("text", "label", "who"), count=20, delimiter=","):
    return write(path, [list(header), *rows(count)], delimiter)


@pytest.mark.parametrize("name, delimiter", [("a.csv", ","), ("a.csv", ";"), ("a.txt", "|"), ("a.tsv", "\t")])
def test_quoted_fields_come_back_whole_whatever_parts_them(tmp_path, name, delimiter):
    found = read_table(table(tmp_path / name, delimiter=delimiter))
    assert found.columns == ("text", "label", "who")
    assert [list(row) for row in found.rows] == rows()
    assert found.lines[:3] == [2, 4, 6]  # each text has a line break


def test_quotes_of_a_table_with_tabs_are_letters_but_for_those_around_a_field(tmp_path):
    (tmp_path / "a.tsv").write_text('\ufeffid\ttext\n1\t"hm" he said\n\n2\t"all of ""it"""\n3\tat the end"\n')
    found = read_table(tmp_path / "a.tsv")
    assert [row[1] for row in found.rows] == ['"hm" he said', 'all of "it"', 'at the end"']
    assert found.lines == [2, 4, 5]


def test_columns_are_found_by_name_or_named_and_a_share_of_each_class_is_the_test_set(tmp_path):
    path = table(tmp_path / "a.csv", ("Tweet", "note", "Class"))
    with pytest.raises(InputError, match=r"one.csv: the labels are all 'x'; at least 2"):
        load_task(f"csv:{write(tmp_path / 'one.csv', [['text', 'label'], *[['a', 'x']] * 4])}", MODELS)
    task = load_task(f"csv:{path}#label=note", MODELS)
    assert task.classes == ("no", "yes")
    assert (len(task.train), len(task.test)) == (16, 4)
    assert np.bincount(task.test.y).tolist() == [2, 2]
    assert task.train.owners is None
    again, other = (load_task(f"csv:{path}#label=note,seed={seed}", MODELS) for seed in (0, 1))
    assert np.array_equal(again.test.x, task.test.x)
    assert not np.array_equal(other.test.x, task.test.x)
    assert len(load_task(f"csv:{path}#label=note,share=.5", MODELS).test) == 10


def test_numbers_name_classes_in_their_order(tmp_path):
    path = write(tmp_path / "a.csv", [["text", "label"], *[["a b", str(i % 11)] for i in range(33)]])
    assert load_task(f"csv:{path}", MODELS).classes == tuple(map(str, range(11)))


def test_a_file_of_its_own_is_the_test_set_and_people_are_clients(tmp_path):
    """Words of the test texts that no training text has are unknown."""
    path, other = table(tmp_path / "a.csv"), write(tmp_path / "b.tsv", [["label", "text"], ["yes", "yes new"]], "\t")
    experiment = resolve({"task": f"csv:{path}#client=who,test={other}", "partition.minimum": 2})
    assert (experiment.config.partition.kind, experiment.config.clients) == ("natural", 3)
    owners = experiment.task.train.owners
    assert [set(owners[held]) for held in experiment.rows] == [{"p0"}, {"p1"}, {"p2"}]
    assert experiment.task.test.y.tolist() == [1]
    assert experiment.task.test.x[0, 1] == 1
    assert np.count_nonzero(experiment.task.test.x) == 2


def test_a_pretrained_models_tokenizer_cuts_the_texts(tmp_path):
    folder = pretrained_folder.write(tmp_path / "bert")
    path = write(tmp_path / "a.csv", [["text", "label"], *[["who is the man", "x"], ["a city", "y"]] * 6])
    task = load_task(f"csv:{path}", ModelConfig(pretrained=str(folder)))
    assert task.train.x.max() < len(pretrained_folder.vocabulary("bert"))
    assert (task.train.x[:, 0] == pretrained_folder.vocabulary("bert")["[CLS]"]).all()


@pytest.mark.parametrize(
    "header, columns, words",
    [
        (("text", "label", "who"), "label=kind", "no column 'kind' for the label; there are: text, label, who"),
        (("a", "label", "who"), "", "no column for the text: none is called text or sentence or content or tweet or"),
        (("text", "text", "who"), "", "columns must have names of their own, got 'text' twice"),
        (("text", "label", "who"), "text=label", "text and label must be two columns, got 'label' for both"),
        (("text", "label", "who"), "lable=kind", "must be of text, label, client, test, share, seed, got 'lable'"),
        (("text", "label", "who"), "label", "must be KEY=VALUE with commas between, got 'label'"),
        (("text", "label", "who"), "seed=1,seed=2", "names seed once, got 'seed=1,seed=2'"),
        (("text", "label", "who"), "share=1", "share must be a number above 0 and below 1, got '1'"),
        (("text", "label", "who"), "seed=-1", "seed must be a whole number of 0 or more, got '-1'"),
        (("text", "label", "who"), "test=b.csv,share=.1", "share must be left out where test names a file, got '.1'"),
        (("text", "label", "who"), "test=b.csv", "b.csv: no such file"),
    ],
)
def test_what_is_not_there_is_one_line_that_lists_what_is(tmp_path, header, columns, words):
    with pytest.raises(InputError) as caught:
        load_task(f"csv:{table(tmp_path / 'a.csv', header)}#{columns}", MODELS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "the file is empty"),
        ("text,label\n", "no rows behind the names of the columns"),
        ("text,label\na,x\nb\n", "line 3 must have 2 fields, as many as columns, got 1"),
        ('text,label\n"a\nb",x\nb,y,z\n', "line 4 must have 2 fields, as many as columns, got 3"),
        ('text,label\na,x\n"b" c,y\n', "the row of line 3 can't be read ("),
        ('text,label\na,x\n"b,y\n', "the row of line 3 can't be read ("),
        ("text,label\na,x\nb, \n", "line 3 has nothing in column 'label', the label"),
        ("text,label\n,x\nb,y\n", "line 2 has nothing in column 'text', the text"),
        ("text,label\na,x\nb,y\nc,y\n", "class 'x' has 1 rows, at least 2 are needed"),
    ],
)
def test_a_bad_file_is_one_line_with_the_number_of_its_line(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        load_task(f"csv:{tmp_path / 'a.csv'}", MODELS)
    assert f"{tmp_path / 'a.csv'}: {words}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_letters_and_classes_of_the_test_file_are_refused(tmp_path):
    (tmp_path / "latin.csv").write_bytes("text,label\nä,x\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.csv: must be UTF-8, got byte 0xe4 at 11"):
        load_task(f"csv:{tmp_path / 'latin.csv'}", MODELS)
    test = write(tmp_path / "b.csv", [["text", "label"], ["a", "no"], ["b", "maybe"]])
    with pytest.raises(InputError, match=r"b.csv: line 3 has label 'maybe', classes of the training rows are no, yes"):
        load_task(f"csv:{table(tmp_path / 'a.csv')}#test={test}", MODELS)


def test_a_moved_file_is_the_same_task_and_its_run_is_called_by_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    first = table(tmp_path / "tweets.csv", ("the, text", "label", "who"))
    table(tmp_path / "there/other.csv", ("the, text", "label", "who"))
    names = ["csv:tweets.csv#text=the%2C text,test=tweets.csv"]
    names += ["csv:there/other.csv#text=the%2C text,test=there/other.csv", absolute_task(names[0])]
    assert names[2] == f"csv:{first}#text=the%2C text,test={first}"
    found = [resolve({"task": name, "clients": 2, "partition.minimum": 2}) for name in names]
    assert len({experiment.fingerprint for experiment in found}) == 1
    assert str(run_path("", found[0].config)) == "runs/tweets-fedkd-0"
    assert (
        resolve({"task": "csv:tweets.csv#text=the%2C text", "clients": 2, "partition.minimum": 2}).fingerprint
        != found[0].fingerprint
    )
    assert check_task(names[0]) == ""
    assert check_task("csv:none.csv#label=x") == "none.csv: no such file here"
