"""What is refused of folders of pretrained encoders, and of texts, in one line each."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedkd.base.encoder import read_encoder
from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.models.inspect import build_model
from fedkd.protocol.resolve import resolve
from fedkd.tasks.builtin import FirstLayers
from fedkd.tasks.registry import load_task
from tests.pretrained_folder import LAYERS, POSITIONS, write
from tests.test_encoder import ids_file, texts


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
