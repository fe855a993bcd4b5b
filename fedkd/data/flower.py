"""The partitioners of ``flwr-datasets`` (extra ``datasets``), where they deal by the law of our own.

Its ``ShardPartitioner`` doesn't: it leaves out the rows that remain when the others are cut in equal shards.
"""

from typing import Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.sections import PartitionConfig
from fedkd.data.dataset import Dataset

_MISSING = "partition.library must be fedkd, got 'flwr_datasets': it isn't installed; pip install 'fedkd[datasets]'"


def iid(data: Dataset, clients: int, _: PartitionConfig, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut the shuffled rows in equal pieces by ``IidPartitioner``, which cuts but doesn't shuffle."""
    return _rows(_partitioners().IidPartitioner(clients), data, clients, rng)


def dirichlet(data: Dataset, clients: int, config: PartitionConfig, rng: np.random.Generator) -> list[np.ndarray]:
    """Split each class in shares drawn from Dirichlet(α) by ``DirichletPartitioner``."""
    partitioner = _partitioners().DirichletPartitioner(
        clients,
        "label",
        config.alpha,
        min_partition_size=0,  # the caller sees to the minimum, with more tries
        self_balancing=False,
        shuffle=False,
        seed=int(rng.integers(2**31)),
    )
    return _rows(partitioner, data, clients, rng)


def _partitioners() -> Any:
    try:
        from flwr_datasets import partitioner
    except ImportError:
        raise InputError(_MISSING) from None
    return partitioner


def _rows(partitioner: Any, data: Dataset, clients: int, rng: np.random.Generator) -> list[np.ndarray]:
    import datasets

    order = rng.permutation(len(data))
    partitioner.dataset = datasets.Dataset.from_dict({"row": order, "label": data.y[order]})
    return [np.array(partitioner.load_partition(i)["row"][:], int) for i in range(clients)]
