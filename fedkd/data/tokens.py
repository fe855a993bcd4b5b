"""From texts to rows of word pieces, by the tokenizer of a Hugging Face folder (extra ``text``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.data.words import Marks

TOKENIZER = "tokenizer.json"
_LEAST = 4  # pieces of a row: marks of beginning and end, and two between
_MASKS = ("[MASK]", "<mask>")
_MARKS = (*_MASKS, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "<pad>", "<unk>", "<s>", "</s>")


class Tokenizer:
    """Cuts texts in pieces.

    Args:
        folder: With ``tokenizer.json``.
        padding: Id of what isn't there.

    Raises:
        InputError: The extra isn't installed, or the folder has no tokenizer.
    """

    def __init__(self, folder: Path, padding: int) -> None:
        try:
            import tokenizers
        except ImportError:
            raise InputError(
                f"{folder}: texts of a pretrained model need tokenizers: pip install 'fedkd[text]'"
            ) from None
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the library raises plain exceptions
            raise InputError(f"{folder / TOKENIZER}: no tokenizer ({' '.join(str(error).split())[:200]})") from None
        self._tokenizer.no_padding()
        self._padding, self._path = padding, folder / TOKENIZER

    def marks(self) -> Marks:
        """Return the ids of the marks of the families.

        Raises:
            InputError: There is none for a hidden piece.
        """
        known = {mark: found for mark in _MARKS if (found := self._tokenizer.token_to_id(mark)) is not None}
        masks = [known[mark] for mark in _MASKS if mark in known]
        if not masks:
            raise InputError(f"{self._path}: has none of {', '.join(_MASKS)}, by which words are hidden")
        return Marks(masks[0], tuple(known.values()))

    def length(self, texts: Sequence[str], longest: int, share: float = 0.95) -> int:
        """Return the number of pieces, marks of beginning and end included, that a share of the texts doesn't exceed.

        Args:
            texts: The training texts.
            longest: At most so many.
            share: Of the texts.
        """
        self._tokenizer.no_truncation()
        lengths = [len(found.ids) for found in self._tokenizer.encode_batch(list(texts))] or [1]
        return int(np.clip(np.quantile(lengths, share, method="inverted_cdf"), _LEAST, longest))

    def encode(self, texts: Sequence[str], steps: int) -> np.ndarray:
        """Return int32 (n, steps): each text's pieces, cut to ``steps`` with the mark of its end, then padding."""
        self._tokenizer.enable_truncation(steps)
        rows = np.full((len(texts), steps), self._padding, np.int32)
        for row, found in zip(rows, self._tokenizer.encode_batch(list(texts)), strict=True):
            row[: len(found.ids)] = found.ids
        return rows
