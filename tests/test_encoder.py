"""Laws of pretrained encoders: a folder's own numbers, its tokenizer, and a federation of its first layers."""

import json

import keras
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from fedkd.base.encoder import read_encoder
from fedkd.base.errors import InputError
from fedkd.compress.words import table_of
from fedkd.config.model import ModelConfig
from fedkd.data.tokens import Tokenizer
from fedkd.distill.pretext import MaskedWords
from fedkd.models.inspect import build_model, get_weights, split_outputs
from fedkd.protocol.resolve import resolve
from fedkd.tasks.builtin import FirstLayers
from fedkd.tasks.own import read_own, write_own
from fedkd.tasks.registry import load_task
from sims.pretrain import pretrain
from sims.run import run
from tests.pretrained_folder import LAYERS, MARKS, WIDTH, WORDS, hidden_states, vocabulary, write

KINDS = ("bert", "roberta", "distilbert")


def sentences(count, rng):
    return np.array([" ".join(rng.choice(WORDS, rng.integers(2, 9))) for _ in range(count)])


def texts(path, **more):
    """Questions of two kinds, told by their first word."""
    rng = np.random.default_rng(0)
    y = {split: np.arange(count) % 2 for split, count in (("train", 60), ("test", 20))}
    starts = np.array(["what ", "who "])
    arrays = {f"text_{split}": np.char.add(starts[y[split]], sentences(len(y[split]), rng)) for split in y}
    np.savez(path, **arrays, y_train=y["train"], y_test=y["test"], classes=["thing", "person"], **more)
    return f"npz:{path}"


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_are_those_of_the_familys_definition(kind, tmp_path):
    encoder = read_encoder(write(tmp_path, kind))
    model = build_model(FirstLayers(encoder, LAYERS, 9, 3), 0)
    ids = np.random.default_rng(0).integers(5, len(vocabulary(kind)), (4, 9)).astype(np.int32)
    ids[1, 6:] = ids[2, 3:] = encoder.padding
    found = split_outputs(model(ids)).hidden
    real = ids != encoder.padding
    for ours, theirs in zip(found, hidden_states(kind, ids), strict=True):
        assert np.abs(np.asarray(ours) - theirs)[real].max() < 1e-5


def test_fewer_layers_are_the_first_ones_and_the_head_is_the_seeds(tmp_path):
    encoder = read_encoder(write(tmp_path))
    builders = FirstLayers(encoder, LAYERS, 9, 3), FirstLayers(encoder, 2, 9, 3)
    (whole, few), again = (build_model(each, 0) for each in builders), build_model(builders[1], 1)
    ids = np.random.default_rng(0).integers(5, 20, (4, 9)).astype(np.int32)
    states = [split_outputs(model(ids)).hidden for model in (whole, few)]
    assert len(states[1]) == 2
    for a, b in zip(states[0], states[1], strict=False):
        np.testing.assert_array_equal(a, b)
    *bodies, heads = zip(get_weights(few), get_weights(again), strict=True)
    kernels = [(a, b) for a, b in [*bodies, heads] if not np.array_equal(a, b)]
    assert [a.shape for a, _ in kernels] == [(WIDTH, 3)]


@pytest.mark.parametrize("name, activation", [("gelu_new", "gelu_tanh"), ("relu", "relu"), ("gelu", "gelu")])
def test_the_activation_is_the_folders(name, activation, tmp_path):
    encoder = read_encoder(write(tmp_path, hidden_act=name))
    assert encoder.activation == activation
    model = build_model(FirstLayers(encoder, 1, 5, 2), 0)
    reference = build_model(FirstLayers(read_encoder(write(tmp_path / "gelu")), 1, 5, 2), 0)
    ids = np.full((1, 5), 6, np.int32)
    same = np.array_equal(split_outputs(model(ids)).hidden[0], split_outputs(reference(ids)).hidden[0])
    assert same == (name == "gelu")


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_cut_by_the_folders_tokenizer(kind, tmp_path):
    encoder, ids = read_encoder(write(tmp_path, kind)), vocabulary(kind)
    rows = Tokenizer(encoder.folder, encoder.padding).encode(["Who is THE man", "what zebra"], 5)
    begin, end, unknown = [
        ids[m] for m in (("<s>", "</s>", "<unk>") if kind == "roberta" else ("[CLS]", "[SEP]", "[UNK]"))
    ]
    assert rows.tolist() == [
        [begin, ids["who"], ids["is"], ids["the"], end],
        [begin, ids["what"], unknown, end, encoder.padding],
    ]


def test_a_task_of_texts_is_as_long_as_most_texts_and_knows_all_of_the_models_words(tmp_path):
    settings = ModelConfig(pretrained=str(write(tmp_path / "model")))
    task = load_task(texts(tmp_path / "texts.npz"), settings)
    assert task.train.x.shape[1] == 11  # a first word, eight more at most, and two marks
    assert task.wanted.largest == len(vocabulary("bert")) - 1
    models = [build_model(each, 0) for each in (task.teacher, task.student)]
    assert [len(split_outputs(model.output).hidden) for model in models] == [LAYERS, 2]
    assert models[0].get_layer("embedding").weights[1].shape == (11, WIDTH)


def test_texts_are_a_task_without_a_pretrained_model_too(tmp_path):
    """Of words of their own, as far as they are frequent."""
    task = load_task(texts(tmp_path / "texts.npz"), ModelConfig())
    assert (task.train.x.shape, task.train.x.dtype) == ((60, 9), np.int32)
    assert task.train.x.max() == len(WORDS) + 1


def test_bytes_are_texts_of_utf8(tmp_path):
    arrays = dict(np.load(texts(tmp_path / "texts.npz").removeprefix("npz:")))
    arrays |= {f"text_{split}": np.char.encode(arrays[f"text_{split}"]) for split in ("train", "test")}
    np.savez(tmp_path / "bytes.npz", **arrays)
    settings = ModelConfig(pretrained=str(write(tmp_path / "model")))
    found = [load_task(f"npz:{tmp_path / name}.npz", settings).train.x for name in ("texts", "bytes")]
    np.testing.assert_array_equal(*found)


def ids_file(path, most, steps=9):
    x = np.random.default_rng(0).integers(5, most, (40, steps)).astype(np.int32)
    np.savez(path, x_train=x, y_train=np.arange(40) % 2, x_test=x, y_test=np.arange(40) % 2, classes=["a", "b"])
    return f"npz:{path}"


def test_ids_of_the_models_own_pieces_are_taken_as_they_are(tmp_path):
    folder = write(tmp_path / "model")
    task = load_task(ids_file(tmp_path / "ids.npz", len(vocabulary("bert"))), ModelConfig(pretrained=str(folder)))
    np.testing.assert_array_equal(task.train.x, np.load(tmp_path / "ids.npz")["x_train"])


def test_a_node_may_hold_pieces_that_the_tasks_data_lack(tmp_path):
    folder = write(tmp_path / "model")
    task = load_task(ids_file(tmp_path / "ids.npz", 12), ModelConfig(pretrained=str(folder)))
    from fedkd.data.dataset import Dataset

    most = len(vocabulary("bert")) - 1
    write_own(tmp_path / "own.npz", Dataset(np.full((3, 9), most, np.int32), np.array([0, 1, 0])))
    assert read_own(tmp_path / "own.npz", task).x.max() == most
    write_own(tmp_path / "own.npz", Dataset(np.full((3, 9), most + 1, np.int32), np.array([0, 1, 0])))
    with pytest.raises(InputError, match=f"from 0 to {most}"):
        read_own(tmp_path / "own.npz", task)


def test_a_moved_folder_is_the_same_experiment_and_another_one_is_not(tmp_path):
    task = texts(tmp_path / "texts.npz")
    folders = [write(tmp_path / name) for name in "abc"]
    arrays = load_file(folders[2] / "model.safetensors")
    save_file({name: array * 1.01 for name, array in arrays.items()}, folders[2] / "model.safetensors")
    found = [resolve({"task": task, "clients": 2, "model.pretrained": str(folder)}).fingerprint for folder in folders]
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_a_federation_of_its_first_layers_learns_and_its_file_holds_the_words_in_use(tmp_path):
    settings = {"task": texts(tmp_path / "texts.npz"), "clients": 2, "rounds": 3, "edge.precisions": "float32"}
    settings |= {"model.pretrained": str(write(tmp_path / "model")), "train.student_lr": 3e-3, "train.teacher_lr": 3e-3}
    settings |= {"train.epochs": 4}
    run(settings, "local", tmp_path / "run", False, False, Console(quiet=True))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["quality"]["shared"] >= 0.9
    (file,) = summary["edge"]
    assert (file["quality"]["litert"], file["warning"]) == (summary["quality"]["shared"], None)
    finished = keras.saving.load_model(tmp_path / "run" / "student_finished.keras", compile=False)
    # Nobody met the marks of hidden and of unknown words.
    assert len(table_of(finished)) == len(vocabulary("bert")) - 2


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_words_become_the_folders_mask_and_marks_are_never_hidden(kind, tmp_path):
    encoder, ids = read_encoder(write(tmp_path, kind)), vocabulary(kind)
    tokenizer = Tokenizer(encoder.folder, encoder.padding)
    x = tokenizer.encode(["what is the long river of the first man"] * 200, 12)
    question = MaskedWords(build_model(FirstLayers(encoder, 1, 12, 2), 0), x, 0, tokenizer.marks()).ask(
        x, np.random.default_rng(0)
    )
    hidden = question.inputs != x
    assert set(question.inputs[hidden]) == {ids["<mask>" if kind == "roberta" else "[MASK]"]}
    assert not np.isin(x[hidden], [ids[mark] for mark in MARKS[kind]]).any()
    assert 0.1 < hidden.sum() / (9 * 200) < 0.2
    np.testing.assert_array_equal(question.counts, hidden)


@pytest.mark.slow
def test_pretraining_goes_on_from_the_folders_weights(tmp_path):
    """Its file fits the teacher of the same settings."""
    settings = {"task": texts(tmp_path / "texts.npz"), "model.pretrained": str(write(tmp_path / "model")), "clients": 2}
    file = pretrain(settings, 2, False, tmp_path / "t.weights.h5", False, Console(quiet=True))
    taught = resolve({**settings, "model.teacher_weights": str(file)}).build("teacher")
    plain = resolve(settings).build("teacher")
    same = [np.array_equal(a, b) for a, b in zip(get_weights(taught), get_weights(plain), strict=True)]
    assert not any(same[:2])


@pytest.mark.slow
def test_a_student_that_was_distilled_from_the_folder_begins_a_federation(tmp_path):
    """Its file fits the student of the same settings, which differs from the folder's first layers."""
    settings = {"task": texts(tmp_path / "texts.npz"), "model.pretrained": str(write(tmp_path / "model")), "clients": 2}
    file = pretrain(settings, 2, False, tmp_path / "s.weights.h5", False, Console(quiet=True), distil=True)
    given = {**settings, "method": "fedavg_student", "model.student_weights": str(file)}
    taught, plain = (resolve(each).build("student") for each in (given, settings))
    same = [np.array_equal(a, b) for a, b in zip(get_weights(taught), get_weights(plain), strict=True)]
    assert not any(same[:-2])
    assert all(same[-2:])
    run(given | {"rounds": 1, "edge.precisions": "none"}, "local", tmp_path / "run", False, False, Console(quiet=True))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["rounds"] == 1


def test_norms_of_older_files_are_found_by_their_names(tmp_path):
    folder = write(tmp_path / "model")
    before = get_weights(build_model(FirstLayers(read_encoder(folder), LAYERS, 9, 2), 0))
    arrays, path = load_file(folder / "model.safetensors"), folder / "model.safetensors"
    for new, old in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
        arrays = {name.replace(new, old): array for name, array in arrays.items()}
    save_file(arrays, path)
    after = get_weights(build_model(FirstLayers(read_encoder(folder), LAYERS, 9, 2), 0))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
