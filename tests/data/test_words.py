"""Laws of turning texts into word ids."""

from fedkd.data.words import encode, length, vocabulary, words


def test_vocabulary_depends_on_counts_and_not_on_order():
    """b comes three times, a and c twice: b first, then by the alphabet."""
    texts = ["c b", "b a", "a c b"]
    assert vocabulary(texts, 10) == vocabulary(texts[::-1], 10) == {"b": 2, "a": 3, "c": 4}


def test_vocabulary_of_a_size_keeps_ids_below_it():
    assert max(vocabulary(["a b c d e"], 4).values()) == 3
    assert vocabulary(["a"], 2) == {}


def test_length_covers_all_but_the_longest_texts():
    """Of 100 texts 96 have 3 words; 95 % is what has to fit."""
    texts = ["one two three"] * 96 + ["many " * 50] * 4
    assert length(texts, 64) == 3
    assert length(["many " * 100], 64) == 64
    assert length(["", ""], 64) == 1


def test_marks_are_words_and_unknown_ones_are_1():
    assert words("Who's he?") == ["who", "'", "s", "he", "?"]
    assert encode(["He who ?"], {"he": 2, "?": 3}, 4).tolist() == [[2, 1, 3, 0]]
