"""From texts to rows of word ids: 0 is padding, 1 unknown, the others a vocabulary of the training texts.

Keras' TextVectorization gives such ids too, but would start TensorFlow for a task that is only checked.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

PADDING, UNKNOWN = 0, 1


class Marks(NamedTuple):
    """Ids that are no words.

    Attributes:
        mask: What a hidden word is replaced by.
        others: All that are never hidden.
    """

    mask: int
    others: tuple[int, ...]


WORDS_MARKS = Marks(UNKNOWN, (PADDING, UNKNOWN))
_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Split a text in lower-case words and single marks.

    Examples:
        >>> words("Don't stop, U2!")
        ['don', "'", 't', 'stop', ',', 'u2', '!']
    """
    return _WORD.findall(text.lower())


def vocabulary(texts: Iterable[str], size: int) -> dict[str, int]:
    """Number the most frequent words from 2 on, the most frequent first, equally frequent ones by the alphabet.

    Args:
        texts: The training texts.
        size: Largest number of ids, padding and unknown included.

    Examples:
        >>> vocabulary(["b a", "a c", "b"], 4)
        {'a': 2, 'b': 3}
    """
    counts = Counter(word for text in texts for word in words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: i for i, word in enumerate(ranked[: size - 2], 2)}


def length(texts: Iterable[str], longest: int, share: float = 0.95) -> int:
    """Return the number of words that a share of the texts doesn't exceed, from 1 to ``longest``."""
    lengths = [len(words(text)) for text in texts] or [1]
    return int(np.clip(np.quantile(lengths, share, method="inverted_cdf"), 1, longest))


def encode(texts: Sequence[str], ids: dict[str, int], steps: int) -> np.ndarray:
    """Return int32 (n, steps): the ids of each text's first words, then padding.

    Examples:
        >>> encode(["a new a", "b"], {"a": 2, "b": 3}, 2).tolist()
        [[2, 1], [3, 0]]
    """
    rows = np.full((len(texts), steps), PADDING, np.int32)
    for row, text in zip(rows, texts, strict=True):
        found = [ids.get(word, UNKNOWN) for word in words(text)[:steps]]
        row[: len(found)] = found
    return rows
