"""Laws of who holds what."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.base.errors import InputError
from fedkd.config.sections import PartitionConfig
from fedkd.data.dataset import Dataset
from fedkd.data.partition import choose, chosen_clients, client_count, hold_out, partition
from fedkd.protocol.resolve import resolve


def data(examples=600, classes=5, owners=None, segments=None):
    y = (np.arange(examples) * 7 % classes).astype(np.int32)
    return Dataset(np.zeros((examples, 2, 2, 1), np.float32), y, owners, segments)


def rng(seed=0):
    return np.random.default_rng(seed)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["iid", "dirichlet", "shards"]), st.integers(1, 12), st.integers(0, 99))
def test_every_example_belongs_to_exactly_one_client(kind, clients, seed):
    config = PartitionConfig(kind=kind, alpha=5.0)
    rows = partition(data(), clients, config, rng(seed))
    assert len(rows) == clients
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(600))
    assert min(len(r) for r in rows) >= config.minimum


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "shards"])
def test_same_seed_deals_the_same_rows(kind):
    deals = [partition(data(), 7, PartitionConfig(kind=kind), rng(3)) for _ in range(2)]
    for first, second in zip(*deals, strict=True):
        np.testing.assert_array_equal(first, second)


def test_iid_clients_differ_by_one_example_at_most():
    sizes = [len(r) for r in partition(data(605), 10, PartitionConfig(), rng())]
    assert max(sizes) - min(sizes) <= 1


def test_small_alpha_is_more_uneven_than_large():
    def spread(alpha):
        rows = partition(data(), 5, PartitionConfig(kind="dirichlet", alpha=alpha, minimum=2), rng())
        shares = np.array([np.bincount(data().y[r], minlength=5) / len(r) for r in rows])
        return shares.std()

    assert spread(0.2) > 2 * spread(100.0)


def test_a_client_with_two_shards_holds_few_classes():
    rows = partition(data(), 10, PartitionConfig(kind="shards", shards=2), rng())
    assert max(len(np.unique(data().y[r])) for r in rows) <= 4


def test_natural_clients_hold_their_own_examples():
    owners = np.repeat([4, 9, 2], 200)
    rows = partition(data(owners=owners), 3, PartitionConfig(kind="natural"), rng())
    assert [set(owners[r]) for r in rows] == [{2}, {4}, {9}]


def test_more_clients_than_examples_is_refused():
    with pytest.raises(InputError, match="clients must be at most the number of training examples, 20, got 21"):
        partition(data(20), 21, PartitionConfig(), rng())


def test_clients_that_cannot_have_their_minimum_are_refused():
    with pytest.raises(InputError, match=r"partition.minimum = 8 they need 24 examples, there are 20"):
        partition(data(20), 3, PartitionConfig(), rng())
    with pytest.raises(InputError, match=r"partition.minimum must be at most \d+ with 10 clients"):
        partition(data(100), 10, PartitionConfig(kind="dirichlet", alpha=0.01, minimum=10), rng())


def test_natural_partition_needs_the_datas_own_clients():
    config = PartitionConfig(kind="natural")
    with pytest.raises(InputError, match="the data name no clients"):
        client_count(0, data(), config)
    owned = data(owners=np.repeat([1, 2], 300))
    assert client_count(0, owned, config) == 2
    with pytest.raises(InputError, match="clients must be 2"):
        client_count(5, owned, config)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 200), st.floats(0.01, 0.9), st.integers(0, 99))
def test_holding_out_splits_all_rows_and_leaves_some_on_both_sides(examples, share, seed):
    train, held = hold_out(data(examples), share, rng(seed))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(examples))
    assert len(train) >= 1
    assert len(held) >= 1


def test_overlapping_segments_stay_on_one_side():
    segments = np.repeat(np.arange(20), 5)
    train, held = hold_out(data(100, segments=segments), 0.25, rng())
    assert len(held) == 25
    assert not set(segments[train]) & set(segments[held])


def test_no_share_holds_nothing_out():
    assert [len(rows) for rows in hold_out(data(50), 0.0, rng())] == [50, 0]


def test_chosen_examples_keep_the_share_of_each_class_to_within_one():
    """Of 300 + 200 + 100 examples, 60 are 30 + 20 + 10."""
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [300, 200, 100])).astype(np.int32)
    rows = choose(Dataset(np.zeros((600, 1)), y), PartitionConfig(examples=60), rng())
    assert len(np.unique(rows)) == 60
    assert (np.abs(np.bincount(y[rows]) - [30, 20, 10]) <= 1).all()


def test_chosen_examples_keep_the_share_of_each_natural_client_and_of_its_classes():
    """Clients of 400, 150 and 50 examples, half of them of class 0, give a tenth each."""
    owners = np.repeat([4, 7, 9], [400, 150, 50])
    y = (np.arange(600) % 2).astype(np.int32)
    config = PartitionConfig(examples=60, kind="natural")
    rows = choose(Dataset(np.zeros((600, 1)), y, owners), config, rng())
    for owner, share in ((4, 40), (7, 15), (9, 5)):
        mine = rows[owners[rows] == owner]
        assert abs(len(mine) - share) <= 1
        assert abs(int((y[mine] == 0).sum()) - share / 2) <= 1


def test_no_class_is_dropped_where_each_client_has_one_example_of_each():
    """Taken at even steps from clients of four classes, every other class of each had none: 10 0 10 0."""
    y, owners = np.tile(np.arange(4, dtype=np.int32), 10), np.repeat(np.arange(10), 4)
    rows = choose(Dataset(np.zeros((40, 1)), y, owners), PartitionConfig(examples=20), rng())
    assert np.bincount(y[rows]).tolist() == [5, 5, 5, 5]
    assert np.bincount(owners[rows]).tolist() == [2] * 10


@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 80), st.integers(0, 999))
def test_classes_and_the_classes_of_clients_get_their_share_to_within_one(clients, classes, size, seed):
    generator = np.random.default_rng(seed)
    y, owners = generator.integers(0, classes, size).astype(np.int32), generator.integers(0, clients, size)
    wanted = int(generator.integers(1, size + 1))
    rows = choose(Dataset(np.zeros((size, 1)), y, owners), PartitionConfig(examples=wanted), rng())
    assert len(np.unique(rows)) == wanted
    for label in range(classes):
        assert abs((y[rows] == label).sum() - (y == label).sum() * wanted / size) < 1
        for owner in range(clients):
            mine = (y == label) & (owners == owner)
            assert abs(mine[rows].sum() - mine.sum() * wanted / size) < 1
    for owner in range(clients):
        assert abs((owners[rows] == owner).sum() - (owners == owner).sum() * wanted / size) < 2


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "shards"])
def test_chosen_examples_are_the_same_for_every_partition_of_data_with_natural_clients(kind):
    """So that pooled data, which are dealt iid, bound what natural clients reach on the same rows."""
    owned = data(owners=np.repeat([4, 7, 9], [400, 150, 50]))
    natural, other = (choose(owned, PartitionConfig(examples=60, kind=each), rng()) for each in ("natural", kind))
    np.testing.assert_array_equal(other, natural)


def test_choice_follows_the_seed_alone():
    config = PartitionConfig(examples=50)
    first, same, other = (choose(data(), config, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert first.tolist() != other.tolist()


def test_no_number_chooses_all_and_too_large_a_one_is_refused():
    np.testing.assert_array_equal(choose(data(), PartitionConfig(), rng()), np.arange(600))
    with pytest.raises(InputError, match=r"partition\.examples must be at most .* 600, got 601"):
        choose(data(), PartitionConfig(examples=601), rng())


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "shards"])
def test_flowers_partitioners_give_every_example_to_one_client_by_the_seed(kind):
    pytest.importorskip("flwr_datasets", reason="needs the extra `datasets`")
    config = PartitionConfig(kind=kind, alpha=5.0, library="flwr_datasets")
    first, same = (partition(data(), 7, config, rng(3)) for _ in range(2))
    np.testing.assert_array_equal(np.sort(np.concatenate(first)), np.arange(600))
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in same]


def test_flowers_dirichlet_partitions_are_as_uneven_as_ours():
    """The shares of a client in a class are Dirichlet(α) in both: their squares sum to (α + 1) / (clients α + 1)."""
    pytest.importorskip("flwr_datasets", reason="needs the extra `datasets`")
    clients, alpha, examples = 10, 0.5, data(4000, 20)
    for library in ("fedkd", "flwr_datasets"):
        config = PartitionConfig(kind="dirichlet", alpha=alpha, library=library)
        squares = []
        for seed in range(8):
            rows = partition(examples, clients, config, rng(seed))
            shares = np.array([np.bincount(examples.y[mine], minlength=20) for mine in rows]) / 200
            squares.append((shares**2).sum(axis=0).mean())
        assert abs(np.mean(squares) - (alpha + 1) / (clients * alpha + 1)) < 0.03, library


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    with pytest.raises(InputError, match=r"partition\.library must be fedkd, .*pip install 'fedkd\[datasets\]'"):
        partition(data(), 7, PartitionConfig(library="flwr_datasets"), rng())


def test_small_natural_clients_can_be_left_out_and_the_advice_can_be_followed():
    owned = data(owners=np.repeat(["a", "b", "c", "d"], [400, 150, 47, 3]))
    every = PartitionConfig(kind="natural")
    with pytest.raises(
        InputError, match=r"1 of 4 natural clients have fewer, such as 'd'; .*partition.clients = 'large'"
    ):
        chosen_clients(owned, every)
    large = chosen_clients(owned, replace(every, clients="large"))
    assert np.unique(owned.owners[large]).tolist() == ["a", "b", "c"]
    some = chosen_clients(owned, replace(every, clients="c a"))
    assert np.unique(owned.owners[some]).tolist() == ["a", "c"]
    with pytest.raises(InputError, match=r"partition.clients must be large, or of a, b, c, d, got 'e'"):
        chosen_clients(owned, replace(every, clients="a e"))
    with pytest.raises(InputError, match=r"partition.clients must be empty, but for partition.kind = 'natural'"):
        PartitionConfig(clients="a")


@pytest.mark.parametrize("smallest, lower", [(1, False), (3, True)])
def test_a_bound_on_examples_is_only_advised_to_be_lowered_where_it_can_be(smallest, lower):
    owned = data(owners=np.repeat(["a", "b", "c"], [400, 200 - smallest, smallest]))
    natural, advice = PartitionConfig(kind="natural", minimum=4), "lower it (2 at the least)"
    with pytest.raises(InputError, match=r"partition.clients") as chosen:
        chosen_clients(owned, natural)
    with pytest.raises(InputError, match=r"partition.clients") as dealt:
        partition(owned, 3, natural, rng())
    assert [advice in str(found.value) for found in (chosen, dealt)] == [lower, lower]


def test_rows_that_nobody_wants_for_int8_are_not_held_back_where_they_are_missing(tmp_path):
    """300 clients of 5 examples: any row that is held back leaves one with fewer than its 5."""
    x, y = np.random.default_rng(0).normal(size=(1500, 4, 3)).astype(np.float32), np.arange(1500) % 2
    np.savez(
        tmp_path / "many.npz",
        x_train=x,
        y_train=y,
        x_test=x,
        y_test=y,
        classes=["a", "b"],
        client_train=np.arange(1500) // 5,
    )
    settings = {"task": f"npz:{tmp_path / 'many.npz'}", "partition.kind": "natural", "partition.minimum": 5}
    for precisions in ("none", "float32 float16"):
        assert resolve(settings | {"edge.precisions": precisions}).config.clients == 300
    with pytest.raises(InputError, match=r"edge.calibration has set 64 examples aside"):
        resolve(settings | {"edge.precisions": "int8"})
