"""From texts to rows of word pieces, by the tokenizer of a Hugging Face folder (extra ``text``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.base.errors import InputError

TOKENIZER = "tokenizer.json"


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
        self._padding = padding

    def length(self, texts: Sequence[str], longest: int, share: float = 0.95) -> int:
        """Return the number of pieces, marks of beginning and end included, that a share of the texts doesn't exceed.

        Args:
            texts: The training texts.
            longest: At most so many.
            share: Of the texts.
        """
        self._tokenizer.no_truncation()
        lengths = [len(found.ids) for found in self._tokenizer.encode_batch(list(texts))] or [1]
        return int(np.clip(np.quantile(lengths, share, method="inverted_cdf"), 1, longest))

    def encode(self, texts: Sequence[str], steps: int) -> np.ndarray:
        """Return int32 (n, steps): each text's pieces, cut to ``steps`` with the mark of its end, then padding."""
        self._tokenizer.enable_truncation(steps)
        rows = np.full((len(texts), steps), self._padding, np.int32)
        for row, found in zip(rows, self._tokenizer.encode_batch(list(texts)), strict=True):
            row[: len(found.ids)] = found.ids
        return rows
