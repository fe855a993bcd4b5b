"""Laws of weights from a file."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.models import cnn
from fedkd.models.inspect import build_model, get_weights, head, logits_model
from fedkd.models.weights_file import load_weights
from tests import tiny


def model(seed, width=12):
    return build_model(lambda: tiny.network(width), seed)


def chain(units, classes=3):
    inputs = keras.Input((4,))
    x = inputs
    for count in units:
        x = layers.Dense(count)(x)
    return keras.Model(inputs, layers.Softmax()(layers.Dense(classes)(x)))


def equal(a, b):
    return [np.array_equal(x, y) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("name", ["teacher.weights.h5", "teacher.keras"])
def test_all_but_the_head_comes_from_the_file_whatever_keras_called_the_layers(tmp_path, name):
    """The last two of eight tensors are the head's: its random kernel stays, its bias is zero in both."""
    saved, other = model(1), model(2)
    (saved.save if name.endswith(".keras") else saved.save_weights)(tmp_path / name)
    before = get_weights(other)
    assert [w.path for w in saved.weights] != [w.path for w in other.weights]
    load_weights(other, tmp_path / name, "teacher")
    assert equal(get_weights(other), get_weights(saved)) == [True] * 5 + [False, True]
    assert equal(get_weights(other)[5:], before[5:]) == [True, True]


@pytest.mark.parametrize("name", ["student.weights.h5", "student.keras"])
def test_a_student_takes_its_head_too(tmp_path, name):
    saved, other = model(1), model(2)
    whole = logits_model(saved)  # as a run writes it
    (whole.save if name.endswith(".keras") else whole.save_weights)(tmp_path / name)
    load_weights(other, tmp_path / name, "student")
    assert all(equal(get_weights(other), get_weights(saved)))


def test_a_student_of_other_classes_is_refused(tmp_path):
    chain([5], 4).save_weights(tmp_path / "w.weights.h5")
    wanted = chain([5])
    before = get_weights(wanted)
    words = r"doesn't fit the student: layers/dense_1/vars/0 \(dense_?\d*\) must have shape \(5, 3\), got \(5, 4\)"
    with pytest.raises(InputError, match=words):
        load_weights(wanted, tmp_path / "w.weights.h5", "student")
    assert all(equal(get_weights(wanted), before))


def test_file_of_a_task_with_other_classes_fits(tmp_path):
    saved, other = (cnn.teacher((8, 8, 1), classes, 2, 4) for classes in (3, 5))
    saved.save_weights(tmp_path / "w.weights.h5")
    load_weights(other, tmp_path / "w.weights.h5", "teacher")
    assert all(equal(get_weights(other)[:-2], get_weights(saved)[:-2]))
    assert get_weights(other)[-1].shape == (5,)


def test_state_of_an_optimiser_in_the_file_is_left_there(tmp_path):
    saved, other = chain([5]), chain([5])
    saved.compile("adam", "mse")
    saved.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))
    saved.save_weights(tmp_path / "w.weights.h5")
    load_weights(other, tmp_path / "w.weights.h5", "teacher")
    assert all(equal(get_weights(other)[:2], get_weights(saved)[:2]))


@pytest.mark.parametrize(
    "units, classes, words",
    [
        ([5, 9], 3, r"layers/dense_1/vars/0 \(dense_?\d*\) must have shape \(5, 6\), got \(5, 9\)"),
        ([5], 6, r"layers/dense_2/vars/0 \(dense_?\d*\) of shape \(6, 7\) is missing"),
        ([5, 6, 7, 8], 3, r"layers/dense_4/vars/0 of shape \(8, 3\) has no place in it"),
    ],
)
def test_file_of_another_model_is_refused_by_its_first_tensor_that_differs(tmp_path, units, classes, words):
    """Layers 0 to 2 are hidden and 3 is the head, whose shapes count for nothing."""
    path, wanted = tmp_path / "w.weights.h5", chain([5, 6, 7])
    chain(units, classes).save_weights(path)
    before = get_weights(wanted)
    with pytest.raises(InputError, match=words) as caught:
        load_weights(wanted, path, "teacher")
    assert str(path) in str(caught.value)
    assert all(equal(get_weights(wanted), before))


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    saved = chain([5])
    saved.set_weights([np.full(w.shape, np.nan) for w in saved.get_weights()])
    saved.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(InputError, match="holds NaN or Inf"):
        load_weights(chain([5]), tmp_path / "w.weights.h5", "teacher")


def grown(path, place, shape):
    """Put a tensor of zeros that takes no room in the file in the place of another."""
    with h5py.File(path, "a") as file:
        del file[place]
        file.create_dataset(place, shape, "f4", compression="gzip", chunks=tuple(min(n, 1024) for n in shape))


@pytest.mark.parametrize(
    "place, shape, words",
    [
        ("layers/dense/vars/0", (30_000_000, 30_000_000), "its weights unpack to 3,600,000,000,000,"),
        ("layers/dense_1/vars/0", (20_000_000, 20_000_000), "its weights unpack to"),  # the head, of which none counts
        ("layers/dense/vars/0", (400, 5), r"must have shape \(4, 5\), got \(400, 5\)"),
    ],
)
def test_no_value_is_read_before_shapes_agree(tmp_path, monkeypatch, place, shape, words):
    path, wanted = tmp_path / "w.weights.h5", chain([5])
    chain([5]).save_weights(path)
    grown(path, place, shape)
    assert path.stat().st_size < 100_000
    read = h5py.Dataset.__getitem__

    def watched(item, *args, **given):
        assert item.shape != shape, "its values were read"
        return read(item, *args, **given)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    with pytest.raises(InputError, match=words):
        load_weights(wanted, path, "teacher")


def test_a_keras_file_that_unpacks_to_more_than_the_teacher_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("fedkd.models.weights_file._MORE", 1 << 20)
    with zipfile.ZipFile(tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(8 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked it"))
    with pytest.raises(InputError, match="its weights unpack to 8,388,608 bytes"):
        load_weights(chain([5]), tmp_path / "w.keras", "teacher")


@pytest.mark.parametrize("name", ["w.weights.h5", "w.keras"])
def test_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(InputError, match=f"{name}: not a readable file of Keras weights"):
        load_weights(chain([5]), tmp_path / name, "teacher")


def test_head_is_the_last_layer_with_weights():
    """Behind it stands a softmax, which has none."""
    built = chain([5])
    assert head(built) is built.layers[2]
