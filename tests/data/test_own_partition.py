"""Laws of partitions by functions of the user's own."""

import numpy as np
import pytest
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from fedkd.protocol.contents import DEAL, changed_contents
from fedkd.protocol.resolve import resolve
from sims.cli import app

HERE = "tests.data.test_own_partition"
SETTINGS = {"task": "tests.tiny:task", "clients": 3, "edge.calibration": 0}


def by_label(labels, clients, rng):
    """A class a client, in an order of chance, less the first row."""
    return [rng.permutation(np.flatnonzero(labels == client))[1:] for client in range(clients)]


def lists(labels, clients, rng):
    return ([row, row + 1] for row in range(0, 2 * clients, 2))


def greedy(labels, clients, rng):
    labels[:] = 0  # a copy of its own
    return np.arange(len(labels)).reshape(clients, -1)


def one_short(labels, clients, rng):
    return np.array_split(np.arange(len(labels)), clients - 1)


def nobody(labels, clients, rng):
    return None


def twice(labels, clients, rng):
    return [np.arange(10, 20), np.arange(30, 40), np.arange(39, 45)]


def twice_there(labels, clients, rng):
    return [[0, 1], [2, 3], [7, 8, 7]]


def beyond(labels, clients, rng):
    return [[0, 1], [2, 3], [len(labels), 4]]


def backwards(labels, clients, rng):
    return [[0, 1], [2, 3], [-1, 4]]


def empty(labels, clients, rng):
    return [np.arange(5), [], np.arange(5, 9)]


def masked(labels, clients, rng):
    return [labels == client for client in range(clients)]


def halves(labels, clients, rng):
    return [[0, 1], [2, 3], [4.0, 5.5]]


def ragged(labels, clients, rng):
    return [[0, 1], [2, 3], [[4], [5, 6]]]


def shuffled(labels, clients, rng):
    return np.array_split(np.random.default_rng().permutation(len(labels)), clients)


OFFSET = 0


def rolled(labels, clients, rng):
    return np.array_split(np.roll(np.arange(len(labels)), OFFSET), clients)


def failing(labels, clients, rng):
    return labels.no_such_thing


def test_clients_hold_what_the_function_deals_them():
    dealt = resolve(SETTINGS | {"partition.kind": f"{HERE}:by_label", "seed": 3})
    y = dealt.task.train.y
    assert [set(y[rows]) for rows in dealt.rows] == [{0}, {1}, {2}]
    assert sum(map(len, dealt.rows)) == len(y) - 3
    assert all((np.diff(rows) > 0).all() for rows in dealt.rows)
    again = resolve(SETTINGS | {"partition.kind": f"{HERE}:by_label", "seed": 3})
    assert all(map(np.array_equal, dealt.rows, again.rows))
    other = resolve(SETTINGS | {"partition.kind": f"{HERE}:by_label", "seed": 4})
    assert not all(map(np.array_equal, dealt.rows, other.rows))


def test_rows_are_numbers_of_the_training_examples_also_where_some_are_the_servers():
    dealt = resolve(SETTINGS | {"edge.calibration": 12, "partition.kind": f"{HERE}:by_label"})
    assert len(dealt.calibration) == 12
    assert not set(dealt.calibration) & set(np.concatenate(dealt.rows))
    assert [set(dealt.task.train.y[rows]) for rows in dealt.rows] == [{0}, {1}, {2}]


def test_plain_lists_will_do_and_labels_are_a_copy():
    dealt = resolve(SETTINGS | {"partition.kind": f"{HERE}:lists"})
    assert [rows.tolist() for rows in dealt.rows] == [[0, 1], [2, 3], [4, 5]]
    assert len(set(resolve(SETTINGS | {"partition.kind": f"{HERE}:greedy"}).task.train.y)) == 3


@pytest.mark.parametrize(
    "function, said",
    [
        ("one_short", "must return 3 arrays of rows, one a client, got 2"),
        ("nobody", "TypeError: 'NoneType' object is not iterable"),
        ("twice", "row 39 is dealt twice, to clients 1 and 2"),
        ("twice_there", "row 7 is dealt twice, to client 2"),
        ("beyond", "client 2 gets row 120, rows must be from 0 to 119"),
        ("backwards", "client 2 gets row -1, rows must be from 0 to 119"),
        ("empty", "client 1 gets no row; each client needs some"),
        ("masked", r"client 0 must get whole numbers of shape \(m,\), got bool of shape \(120,\)"),
        ("halves", r"client 2 must get whole numbers of shape \(m,\), got float64 of shape \(2,\)"),
        ("ragged", r"client 2 must get whole numbers of shape \(m,\)"),
        ("shuffled", "deals client 0 other rows at each call; draw from its generator alone"),
        ("failing", "AttributeError: 'numpy.ndarray' object has no attribute 'no_such_thing'"),
        ("missing", "AttributeError: module 'tests.data.test_own_partition' has no attribute 'missing'"),
    ],
)
def test_what_is_no_partition_is_refused_in_one_line(function, said):
    with pytest.raises(InputError, match=f"partition.kind '{HERE}:{function}': {said}") as caught:
        resolve(SETTINGS | {"partition.kind": f"{HERE}:{function}"})
    assert "\n" not in str(caught.value)


def test_a_function_that_deals_otherwise_than_before_makes_another_run(monkeypatch):
    """No key says so, as none does of a data file that has changed: a run doesn't go on with other clients' rows."""
    settings = SETTINGS | {"partition.kind": f"{HERE}:rolled"}
    before, same = resolve(settings), resolve(settings)
    monkeypatch.setattr(f"{HERE}.OFFSET", 7)
    after = resolve(settings)
    assert before.fingerprint == same.fingerprint != after.fingerprint
    (said,) = changed_contents(before.contents, after.contents)
    assert said == "what the function of partition.kind deals differs from the one the run began with"
    assert resolve(SETTINGS).contents.keys() == before.contents.keys() - {DEAL}


def test_a_client_with_less_than_the_minimum_is_refused():
    with pytest.raises(InputError, match=f"partition.minimum must be at most 2, what '{HERE}:lists' deals"):
        resolve(SETTINGS | {"partition.kind": f"{HERE}:lists", "partition.minimum": 3})


@pytest.mark.slow
def test_a_run_takes_it_by_its_name(tmp_path):
    sizes = ["--rounds", "1", "--set", "edge.precisions=none", "--set", "edge.sparsity=0"]
    arguments = ["run", "--task", "tests.tiny:task", "--clients", "3", "--partition", f"{HERE}:by_label", *sizes]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(app, ["run", "--resume", str(tmp_path / "run"), "--rounds", "2"])
    assert (refused.exit_code, f"also partition.kind = '{HERE}:by_label'" in refused.output) == (2, True)
