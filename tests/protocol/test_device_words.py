"""Laws of the words that a run's device files hold."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.compress.words import table_of
from fedkd.models.inspect import get_weights, logits_model
from fedkd.protocol.device_words import for_devices
from fedkd.protocol.finishing import check
from fedkd.protocol.resolve import resolve

WORDS = 60


def experiment(path, **settings):
    """Training examples of words 2 to 20, tests of all."""
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(2, 21, (80, 6)), "x_test": rng.integers(2, WORDS, (40, 6))}
    arrays["x_test"][0, 0] = WORDS - 1
    np.savez(path, **arrays, y_train=np.arange(80) % 2, y_test=np.arange(40) % 2, classes=["a", "b"])
    return resolve({"task": f"npz:{path}", "clients": 2, "model.student_width": 8, "edge.words": "used", **settings})


def test_words_that_only_the_test_set_has_are_left_out(tmp_path):
    found = experiment(tmp_path / "words.npz")
    model = for_devices(found, logits_model(found.shared_model))
    assert table_of(found.shared_model).shape[0] == WORDS
    assert table_of(model).shape[0] == 20  # those of training, and padding


def test_words_whose_vectors_training_has_changed_stay_and_those_that_pruning_made_zero_do_not(tmp_path):
    found = experiment(tmp_path / "words.npz")
    weights = get_weights(found.shared_model)
    table = next(i for i, array in enumerate(weights) if array.shape == (WORDS, 8))
    weights[table] = weights[table].copy()
    weights[table][50] += 1
    weights[table][51] = 0
    model = for_devices(found, logits_model(found.shared_model, weights))
    np.testing.assert_array_equal(table_of(model)[20], weights[table][50])
    assert len(table_of(model)) == 21


def test_all_words_stay_unless_they_are_to_go(tmp_path):
    found = experiment(tmp_path / "words.npz", **{"edge.words": "all"})
    model = logits_model(found.shared_model)
    assert for_devices(found, model) is model


def test_a_pretrained_models_files_hold_the_words_in_use_unless_the_user_wants_all(tmp_path):
    pytest.importorskip("tokenizers")
    from tests.pretrained_folder import write
    from tests.test_encoder import texts

    settings = {"task": texts(tmp_path / "texts.npz"), "model.pretrained": str(write(tmp_path / "model")), "clients": 2}
    assert resolve(settings).config.edge.words == "used"
    assert resolve({**settings, "edge.words": "all"}).config.edge.words == "all"


def test_models_without_a_word_table_are_refused_before_a_run_begins():
    found = resolve({"task": "tests.tiny:task", "clients": 2, "edge.words": "used"})
    with pytest.raises(InputError, match="must have one word table to leave words out of it, got none"):
        check(found)


def test_other_words_than_all_and_used_are_refused():
    with pytest.raises(InputError, match=r"edge\.words must be all or used, got 'few'"):
        resolve({"task": "tests.tiny:task", "edge.words": "few"})
