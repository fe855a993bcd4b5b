"""Who holds what: the training rows that are used, those of each client, and what a client holds out for itself."""

from collections.abc import Callable

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.sections import PartitionConfig
from fedkd.data import flower
from fedkd.data.dataset import Dataset
from fedkd.data.own_partition import Rows, own_partition

_TRIES = 200


def choose(data: Dataset, config: PartitionConfig, rng: np.random.Generator) -> np.ndarray:
    """Choose the training rows of an experiment, the same share of each class, and of each natural client.

    Each class gets its share of them to within one, and so do a client's examples of a class; of what is left over by
    rounding, clients that have had less come first. Natural clients count whatever the partition, so that methods and
    partitions have one choice.

    Args:
        data: n examples.
        config: How many to take.
        rng: The only source of chance.

    Returns:
        ``config.examples`` ascending rows, all of them for 0.

    Raises:
        InputError: There are fewer examples than asked for.
    """
    size, wanted = len(data), config.examples or len(data)
    if wanted > size:
        raise InputError(f"partition.examples must be at most the number of training examples, {size}, got {wanted}")
    owners = np.zeros(size, int) if data.owners is None else np.unique(data.owners, return_inverse=True)[1]
    classes = np.unique(data.y, return_inverse=True)[1]
    counts = np.zeros((owners.max() + 1, classes.max() + 1), int)
    np.add.at(counts, (owners, classes), 1)
    cells, order = owners * counts.shape[1] + classes, rng.permutation(size)
    order = order[np.argsort(cells[order], kind="stable")]
    starts = np.cumsum(counts.ravel()) - counts.ravel()
    places = np.arange(size) - starts[cells[order]]  # of a row among those of its client and class
    return np.sort(order[places < _shares(counts, wanted).ravel()[cells[order]]])


def _shares(counts: np.ndarray, wanted: int) -> np.ndarray:
    """How many of each client's examples of each class, (clients, classes), are taken that ``wanted`` are in all."""
    size = int(counts.sum())
    taken, rests = np.divmod(counts * wanted, size)
    columns, beyond = np.divmod(counts.sum(0) * wanted, size)
    columns[np.argsort(-beyond, kind="stable")[: wanted - int(columns.sum())]] += 1
    owed = np.zeros(len(counts), int)  # to each client, in parts of an example
    for column, total in enumerate(columns):
        first = np.lexsort((-(owed + rests[:, column]), rests[:, column] == 0))
        extra = first[: int(total - taken[:, column].sum())]
        owed += rests[:, column]
        owed[extra] -= size
        taken[extra, column] += 1
    return taken


def chosen_clients(data: Dataset, config: PartitionConfig) -> np.ndarray:
    """Return the ascending rows of the natural clients that take part, see ``partition.clients``; else all rows.

    Raises:
        InputError: There is no such client, none is left, or some have fewer examples than the minimum.
    """
    if config.kind != "natural" or data.owners is None:
        return np.arange(len(data))
    names, inverse, counts = np.unique(data.owners, return_inverse=True, return_counts=True)
    words = config.clients.split()
    known = {str(name): place for place, name in enumerate(names)}
    if words == ["large"]:
        taken = np.flatnonzero(counts >= config.minimum)
    elif unknown := [word for word in words if word not in known]:
        some = ", ".join(list(known)[:8]) + (", ..." if len(known) > 8 else "")
        raise InputError(f"partition.clients must be large, or of {some}, got {unknown[0]!r}")
    else:
        taken = np.array([known[word] for word in words] or list(known.values()))
    small = [str(names[place]) for place in taken if counts[place] < config.minimum]
    if small or not len(taken):
        found = (
            f"{len(small)} of {len(taken)} natural clients have fewer, such as {small[0]!r}" if small else "none has"
        )
        advice = _or_lower("leave them out with partition.clients = 'large'", min(counts[taken], default=0))
        raise InputError(f"partition.minimum = {config.minimum} examples a client: {found}; {advice}")
    return np.flatnonzero(np.isin(inverse, taken))


def _or_lower(advice: str, smallest: int) -> str:
    """Advise to lower the bound, too, where that helps: no client may have fewer than 2 examples."""
    return f"{advice}, or lower it (2 at the least)" if smallest >= 2 else advice


def client_count(asked: int, data: Dataset, config: PartitionConfig, default: int = 10) -> int:
    """Return how many clients there are: what was asked, or the natural ones, or the default.

    Raises:
        InputError: The partition is natural and the data have no clients, or another number than asked.
    """
    if config.kind != "natural":
        return asked or default
    if data.owners is None:
        raise InputError("partition.kind must be iid, dirichlet or shards, got 'natural': the data name no clients")
    natural = len(np.unique(data.owners))
    if asked not in (0, natural):
        raise InputError(f"clients must be {natural} (the data's own) with partition.kind = 'natural', got {asked}")
    return natural


def partition(data: Dataset, clients: int, config: PartitionConfig, rng: np.random.Generator) -> Rows:
    """Deal the rows of a data set to clients.

    Args:
        data: n examples.
        clients: Number of clients.
        config: Kind of partition and its numbers.
        rng: The only source of chance.

    Returns:
        For each client its rows, ascending; no row belongs to two, each client has ``config.minimum`` or more. Only a
        function of the user's own leaves rows out.

    Raises:
        InputError: There are too few examples, or no deal with the minimum was found, or a function of the user's own
            breaks a rule.
    """
    if clients > len(data):
        raise InputError(f"clients must be at most the number of training examples, {len(data)}, got {clients}")
    if clients * config.minimum > len(data):
        need = clients * config.minimum
        raise InputError(
            f"clients must be at most {len(data) // config.minimum}, got {clients}: with partition.minimum ="
            f" {config.minimum} they need {need} examples, there are {len(data)}"
        )
    if ":" in config.kind:
        return [np.sort(rows) for rows in _own(data, clients, config, rng)]
    deals = {"iid": _iid, "dirichlet": _dirichlet, "shards": _shards, "natural": _natural}
    if config.library == "flwr_datasets":
        deals |= {"iid": flower.iid, "dirichlet": flower.dirichlet}
    deal = deals[config.kind]
    return [np.sort(rows) for rows in _with_minimum(deal, data, clients, config, rng)]


def _with_minimum(
    deal: Callable[[Dataset, int, PartitionConfig, np.random.Generator], Rows],
    data: Dataset,
    clients: int,
    config: PartitionConfig,
    rng: np.random.Generator,
) -> Rows:
    smallest = 0
    for _ in range(_TRIES):
        rows = deal(data, clients, config, rng)
        smallest = max(smallest, min(len(r) for r in rows))
        if smallest >= config.minimum:
            return rows
    if config.kind == "natural":
        raise InputError(
            f"partition.minimum must be at most {smallest}, what the smallest client has, got {config.minimum}:"
            f" {_or_lower('leave small clients out with partition.clients', smallest)}"
        )
    raise InputError(
        f"partition.minimum must be at most {smallest} with {clients} clients and partition.kind = {config.kind!r}"
        f" (best of {_TRIES} deals), got {config.minimum}: lower it, take fewer clients or a larger partition.alpha"
    )


def _own(data: Dataset, clients: int, config: PartitionConfig, rng: np.random.Generator) -> Rows:
    rows = own_partition(config.kind, data.y, clients, rng)
    smallest = min(len(held) for held in rows)
    if smallest < config.minimum:
        raise InputError(
            f"partition.minimum must be at most {smallest}, what {config.kind!r} deals the smallest client, got"
            f" {config.minimum}: {_or_lower('deal otherwise', smallest)}"
        )
    return rows


def _iid(data: Dataset, clients: int, _: PartitionConfig, rng: np.random.Generator) -> Rows:
    return list(np.array_split(rng.permutation(len(data)), clients))


def _dirichlet(data: Dataset, clients: int, config: PartitionConfig, rng: np.random.Generator) -> Rows:
    """Split each class in shares drawn from Dirichlet(α) (Hsu et al. 2019, with a share of each class per client)."""
    parts: list[list[np.ndarray]] = [[] for _ in range(clients)]
    for label in np.unique(data.y):
        rows = rng.permutation(np.flatnonzero(data.y == label))
        shares = rng.dirichlet(np.full(clients, config.alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    return [np.concatenate(part) for part in parts]


def _shards(data: Dataset, clients: int, config: PartitionConfig, rng: np.random.Generator) -> Rows:
    """Sort by label, cut in shards, deal each client its number of them (McMahan et al. 2017)."""
    order = rng.permutation(len(data))
    pieces = np.array_split(order[np.argsort(data.y[order], kind="stable")], clients * config.shards)
    dealt = rng.permutation(len(pieces)).reshape(clients, config.shards)
    return [np.concatenate([pieces[i] for i in mine]) for mine in dealt]


def _natural(data: Dataset, clients: int, _: PartitionConfig, __: np.random.Generator) -> Rows:
    owners = np.zeros(len(data), int) if data.owners is None else data.owners
    return [np.flatnonzero(owners == owner) for owner in np.unique(owners)]


def hold_out(data: Dataset, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in those to train on and those held out; overlapping segments stay on one side.

    Args:
        data: n examples.
        share: Share to hold out, in [0, 1).
        rng: The only source of chance.

    Returns:
        Ascending rows to train on (at least one) and rows held out (at least one where share > 0 and n > 1).
    """
    units = np.arange(len(data)) if data.segments is None else np.unique(data.segments, return_inverse=True)[1]
    kinds = int(units.max()) + 1
    if share == 0 or kinds == 1:
        return np.arange(len(data)), np.arange(0)
    chosen = rng.permutation(kinds)[: min(max(1, round(share * kinds)), kinds - 1)]
    inside = np.isin(units, chosen)
    return np.flatnonzero(~inside), np.flatnonzero(inside)
