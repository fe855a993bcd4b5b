"""Laws of tables whose keys are listed elsewhere."""

import pytest

from fedkd.base.complete import complete


def test_table_has_the_order_of_its_names():
    assert list(complete(("b", "a"), {"a": 1, "b": 2}).items()) == [("b", 2), ("a", 1)]


@pytest.mark.parametrize("table", [{"a": 1}, {"a": 1, "b": 2, "c": 3}])
def test_missing_and_unlisted_entries_are_named(table):
    with pytest.raises(ValueError, match=r"one entry for each of a, b; not so for [bc]"):
        complete(("a", "b"), table)
