"""Laws of models that know some of their words alone."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.words import table_of, with_words
from fedkd.edge.convert import convert_here
from fedkd.edge.runtime import describe, predict
from fedkd.models import transformer
from fedkd.models.inspect import logits_model

USED = np.array([[2, 3, 5, 8], [13, 21, 34, 0]], np.int32)


def tokens():
    return logits_model(transformer.student(4, 50, 3, 8))


def embedding(mask_zero=True):
    ids = keras.Input((4,), dtype="int32")
    x = layers.Embedding(50, 8, mask_zero=mask_zero, name="embedding")(ids)
    return keras.Model(ids, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("build", [tokens, embedding])
def test_words_that_are_kept_count_as_before_to_the_bit(build):
    keras.utils.set_random_seed(0)
    model = build()
    cut = with_words(model, USED)
    assert table_of(cut).shape == (len(np.unique(USED)), 8)
    assert len(table_of(model)) == 50
    np.testing.assert_array_equal(cut(USED), model(USED))


def test_a_word_that_is_left_out_is_the_one_whose_vector_points_where_its_own_did():
    keras.utils.set_random_seed(0)
    model = tokens()
    table = table_of(model).copy()
    table[40], table[41] = 7 * table[21] + 0.001, -table[5]
    model.get_layer("embedding").words.assign(table)
    cut = with_words(model, USED)
    for left_out, kept in ((40, 21), (41, None)):
        ids = np.array([[2, left_out, 3, 0]], np.int32)
        same = [word for word in np.unique(USED) if np.array_equal(cut(np.where(ids == left_out, word, ids)), cut(ids))]
        assert (same == [kept]) == (kept is not None)
        assert 5 not in same


@pytest.mark.slow
def test_its_file_takes_the_same_ids_and_has_the_rows_that_are_left(tmp_path):
    keras.utils.set_random_seed(0)
    model = logits_model(transformer.student(4, 3000, 3, 8))
    np.save(tmp_path / "calibration.npy", USED)
    made = []
    for name, each in (("whole", model), ("cut", with_words(model, USED))):
        each.save(tmp_path / f"{name}.keras")
        made += list(convert_here(tmp_path / f"{name}.keras", tmp_path, tmp_path / name, ["float32"]))
    whole, cut = (done.path for done in made)
    np.testing.assert_array_equal(predict(cut, USED), predict(whole, USED))
    saved = describe(whole)["flash_bytes"] - describe(cut)["flash_bytes"]
    # A row of 8 floats for each word less, and two bytes a word that say where its row is.
    assert saved == pytest.approx((3000 - len(np.unique(USED))) * 8 * 4 - 2 * 3000, abs=1000)


@pytest.mark.slow
def test_rows_beyond_two_bytes_are_counted_in_four():
    ids = keras.Input((2,), dtype="int32")
    x = layers.Embedding(40_000, 1)(ids)
    model = keras.Model(ids, layers.Dense(1)(layers.Flatten()(x)))
    used = np.arange(35_000)
    cut = with_words(model, used)
    last = np.array([[34_999, 33_000]], np.int32)
    np.testing.assert_array_equal(cut(last), model(last))


def test_models_without_one_table_and_ids_of_no_word_are_refused():
    inputs = keras.Input((4,))
    with pytest.raises(InputError, match="must have one word table to leave words out of it, got none"):
        with_words(keras.Model(inputs, layers.Dense(2)(inputs)), USED)
    ids = keras.Input((4,), dtype="int32")
    both = layers.Concatenate()([layers.Embedding(50, 2, name=name)(ids) for name in "ab"])
    with pytest.raises(InputError, match="got a, b"):
        with_words(keras.Model(ids, both), USED)
    for wrong in (50, -1):
        with pytest.raises(InputError, match="word ids must be whole numbers from 0 to 49, got"):
            with_words(tokens(), np.array([3, wrong]))
