"""Texts of a task as rows of ids: of words of a vocabulary of their own, or of a pretrained model's pieces."""

from collections.abc import Mapping

import numpy as np

from fedkd.base.encoder import Encoder
from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.data import words
from fedkd.data.tokens import Tokenizer

# Texts are cut here: attention costs the square of their length.
LONGEST = 64
_SPLITS = ("train", "test")


def in_words(source: str, arrays: Mapping[str, np.ndarray], models: ModelConfig) -> dict[str, np.ndarray]:
    """Give arrays x_train and x_test of their texts: ids of the most frequent words of the training texts.

    Args:
        source: Where they come from, for messages.
        arrays: With text_train and text_test.
        models: Says how many words there are.

    Raises:
        InputError: They aren't texts, or one split has none.
    """
    texts = {split: _texts(source, arrays, split) for split in _SPLITS}
    ids, steps = words.vocabulary(texts["train"], models.words), words.length(texts["train"], LONGEST)
    return {**arrays, **{f"x_{split}": words.encode(texts[split], ids, steps) for split in _SPLITS}}


def in_pieces(source: str, arrays: Mapping[str, np.ndarray], encoder: Encoder) -> dict[str, np.ndarray]:
    """Give arrays x_train and x_test of their texts in a pretrained model's pieces; without texts x holds such ids.

    Args:
        source: Where they come from, for messages.
        arrays: With text_train and text_test, or x_train and x_test.
        encoder: Whose folder has the tokenizer.

    Raises:
        InputError: There is no tokenizer, or there are neither texts nor ids that the model knows.
    """
    if any(f"text_{split}" in arrays for split in _SPLITS):
        tokenizer = Tokenizer(encoder.folder, encoder.padding)
        texts = {split: _texts(source, arrays, split) for split in _SPLITS}
        steps = tokenizer.length(texts["train"], min(LONGEST, encoder.positions))
        arrays = {**arrays, **{f"x_{split}": tokenizer.encode(texts[split], steps) for split in _SPLITS}}
    for split in _SPLITS:
        x = arrays[f"x_{split}"]
        if x.dtype.kind not in "iu" or x.ndim != 2:
            raise InputError(
                f"{source}: model.pretrained is for texts (text_train, text_test) or ids of its pieces, got x_{split}"
                f" of {x.dtype} and shape {x.shape}"
            )
        if len(x) and int(x.max()) >= encoder.vocabulary:
            raise InputError(
                f"{source}: x_{split} holds id {int(x.max())}, model.pretrained knows ids from 0 to"
                f" {encoder.vocabulary - 1}"
            )
        if x.shape[1] > encoder.positions:
            raise InputError(
                f"{source}: x_{split} has {x.shape[1]} ids a text, model.pretrained takes at most {encoder.positions}"
            )
    return dict(arrays)


def _texts(source: str, arrays: Mapping[str, np.ndarray], split: str) -> list[str]:
    """Texts of a split, of characters or of UTF-8."""
    name, array = f"text_{split}", arrays.get(f"text_{split}")
    if array is None:
        raise InputError(f"{source}: arrays missing: {name}; both splits must be texts, or neither")
    found = array.tolist() if array.ndim == 1 else []
    if array.ndim != 1 or not all(isinstance(text, str | bytes) for text in found):
        raise InputError(f"{source}: {name} must hold texts (n,), got {array.dtype} of shape {array.shape}")
    texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in found]
    return [text.encode("utf-8", "replace").decode() for text in texts]  # halves of characters are none
