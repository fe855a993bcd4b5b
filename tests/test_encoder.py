"""Laws of pretrained encoders: a folder's own numbers, its tokenizer, and a federation of its first layers."""

import json

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from fedkd.base.encoder import read_encoder
from fedkd.base.errors import InputError
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
from tests.pretrained_folder import LAYERS, MARKS, POSITIONS, WIDTH, WORDS, hidden_states, vocabulary, write

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


def refused(tmp_path, match, task=None, **settings):
    given = {"model.pretrained": str(tmp_path / "model"), **settings}
    with pytest.raises(InputError, match=match) as caught:
        resolve({"task": task or texts(tmp_path / "texts.npz"), "clients": 2, **given})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"model.teacher_width": 8}, "teacher_width must be 0 with model.pretrained"),
        ({"model.vocabulary": 9}, "vocabulary must be 0 with model.pretrained"),
        ({"model.student_init": "teacher_layers"}, "student_init must be random"),
        ({"model.student_layers": LAYERS + 1}, f"student_layers must be at most {LAYERS}"),
        ({"model.pretrained": "", "model.teacher_layers": 2}, "teacher_layers must be 0 without"),
        ({"model.pretrained": "nowhere"}, "takes a Hugging Face folder"),
    ],
)
def test_settings_that_do_not_fit_a_folder_are_refused_in_one_line(settings, match, tmp_path):
    write(tmp_path / "model")
    refused(tmp_path, match, **settings)


@pytest.mark.parametrize(
    "config, match",
    [
        ({"model_type": "gpt2"}, "model_type must be one of"),
        ({"hidden_act": "swish"}, "activation must be one of"),
        ({"position_embedding_type": "relative_key"}, "must be absolute"),
        ({"num_attention_heads": 5}, "must be a multiple"),
        ({"hidden_size": None}, "isn't that of an encoder"),
    ],
)
def test_folders_of_other_models_are_refused_in_one_line(config, match, tmp_path):
    write(tmp_path / "model", **config)
    refused(tmp_path, match)


def test_pictures_are_none_of_its_tasks(tmp_path):
    write(tmp_path / "model")
    refused(tmp_path, "isn't one of texts", "digits")
    refused(tmp_path, "isn't one of texts", "tests.tiny:task")
    x = np.zeros((8, 6, 6, 1), np.uint8)
    np.savez(
        tmp_path / "x.npz", x_train=x, y_train=np.arange(8) % 2, x_test=x, y_test=np.arange(8) % 2, classes=["a", "b"]
    )
    refused(tmp_path, "is for texts", f"npz:{tmp_path / 'x.npz'}")


def test_ids_that_the_model_does_not_know_and_texts_it_has_no_positions_for_are_refused(tmp_path):
    write(tmp_path / "model")
    refused(tmp_path, "knows ids from 0 to", ids_file(tmp_path / "ids.npz", 99))
    refused(tmp_path, f"takes at most {POSITIONS}", ids_file(tmp_path / "long.npz", 9, POSITIONS + 1))


@pytest.mark.parametrize(
    "change, match", [("lack", "must hold"), ("shape", "must have shape"), ("none", "not a safetensors")]
)
def test_weights_that_are_not_there_are_named(change, match, tmp_path):
    folder = write(tmp_path / "model")
    path, name = folder / "model.safetensors", "bert.encoder.layer.1.intermediate.dense.weight"
    arrays = load_file(path)
    arrays[name] = arrays[name][:, :4].copy()
    if change == "lack":
        del arrays[name]
    save_file(arrays, path) if change != "none" else path.write_bytes(b"nothing")
    encoder = read_encoder(folder)
    with pytest.raises(InputError, match=match) as caught:
        build_model(FirstLayers(encoder, LAYERS, 9, 2), 0)
    assert change == "none" or name.removeprefix("bert.") in str(caught.value)


def test_without_the_extra_one_line_says_what_to_install(tmp_path, monkeypatch):
    import sys

    write(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    refused(tmp_path, r"pip install 'fedkd\[text\]'")


def test_a_moved_folder_is_the_same_experiment_and_another_one_is_not(tmp_path):
    task = texts(tmp_path / "texts.npz")
    folders = [write(tmp_path / name) for name in "abc"]
    arrays = load_file(folders[2] / "model.safetensors")
    save_file({name: array * 1.01 for name, array in arrays.items()}, folders[2] / "model.safetensors")
    found = [resolve({"task": task, "clients": 2, "model.pretrained": str(folder)}).fingerprint for folder in folders]
    assert found[0] == found[1] != found[2]


def test_a_federation_of_its_first_layers_learns(tmp_path):
    settings = {"task": texts(tmp_path / "texts.npz"), "clients": 2, "rounds": 3, "edge.precisions": "none"}
    settings |= {"model.pretrained": str(write(tmp_path / "model")), "train.student_lr": 3e-3, "train.teacher_lr": 3e-3}
    settings |= {"train.epochs": 4}
    run(settings, "local", tmp_path / "run", False, False, Console(quiet=True))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["quality"]["shared"] >= 0.9


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


def test_pretraining_goes_on_from_the_folders_weights(tmp_path):
    """Its file fits the teacher of the same settings."""
    settings = {"task": texts(tmp_path / "texts.npz"), "model.pretrained": str(write(tmp_path / "model")), "clients": 2}
    file = pretrain(settings, 2, False, tmp_path / "t.weights.h5", False, Console(quiet=True))
    taught = resolve({**settings, "model.teacher_weights": str(file)}).build("teacher")
    plain = resolve(settings).build("teacher")
    same = [np.array_equal(a, b) for a, b in zip(get_weights(taught), get_weights(plain), strict=True)]
    assert not any(same[:2])


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


@pytest.mark.parametrize("name", ["embeddings.word_embeddings.weight", "encoder.layer.2.output.LayerNorm.bias"])
def test_weights_that_are_not_finite_are_refused(name, tmp_path):
    folder = write(tmp_path / "model")
    arrays = load_file(folder / "model.safetensors")
    arrays[f"bert.{name}"].ravel()[3] = np.nan
    save_file(arrays, folder / "model.safetensors")
    with pytest.raises(InputError, match="holds NaN or Inf") as caught:
        build_model(FirstLayers(read_encoder(folder), LAYERS, 9, 2), 0)
    assert name in str(caught.value)


@pytest.mark.parametrize("key", ["num_attention_heads", "num_hidden_layers", "vocab_size", "max_position_embeddings"])
@pytest.mark.parametrize("size", [0, -3])
def test_sizes_that_can_not_be_are_refused(key, size, tmp_path):
    with pytest.raises(InputError, match=f"got {key} {size}"):
        read_encoder(write(tmp_path / "model", **{key: size}))


NO_TEXTS = {
    "one split alone": ({"text_test": None, "x_test": np.ones((20, 9), np.int32)}, "text_test; both splits"),
    "numbers": ({"text_train": np.arange(60.0)}, "must hold texts"),
    "two axes": ({"text_train": np.full((60, 2), "a")}, "must hold texts"),
    "none": ({"text_train": np.array([], str), "y_train": np.array([], int)}, "train split is empty"),
}


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("change, match", NO_TEXTS.values(), ids=NO_TEXTS)
def test_arrays_that_are_no_texts_are_refused_in_one_line(change, match, pretrained, tmp_path):
    arrays = dict(np.load(texts(tmp_path / "texts.npz").removeprefix("npz:"))) | change
    np.savez(tmp_path / "bad.npz", **{name: array for name, array in arrays.items() if array is not None})
    settings = ModelConfig(pretrained=str(write(tmp_path / "model")) if pretrained else "")
    with pytest.raises(InputError, match=match) as caught:
        load_task(f"npz:{tmp_path / 'bad.npz'}", settings)
    assert "\n" not in str(caught.value)
