"""FedAvg in Apple's pfl-research on PyTorch, in its simulated backend."""

# mypy: disable-error-code="import-not-found"

import itertools
import time

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn
from work_file import Work, cores, load, paths, save


class Network(nn.Module):
    """The model, with the loss and metrics that pfl asks of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(7 * 7 * 32, 10),
        )
        # Twice as fast on a CPU as torch's default.
        self.to(memory_format=torch.channels_last)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of a batch."""
        return nn.functional.cross_entropy(self.layers(x), y)

    @torch.no_grad()
    def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, Weighted]:
        """What pfl evaluates, which it does in the first round whatever it is told."""
        return {"loss": Weighted(self.loss(x, y).item() * len(y), len(y))}


class Clock(TrainingProcessCallback):
    """Notes the time as training begins and after each round."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def on_train_begin(self, *, model: PyTorchModel) -> Metrics:
        """Note the time."""
        self.stamps.append(time.perf_counter())
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """Note the time and go on."""
        self.stamps.append(time.perf_counter())
        return False, Metrics()


def run(work: Work) -> tuple[list[float], list[np.ndarray]]:
    """Train; returns the clock at the start and after each round, and the last weights in Keras layout."""
    network = Network()
    set_weights(network, work.weights)
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    clients, clock = federated_dataset(work), Clock()
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=work.rounds,
            evaluation_frequency=work.rounds,
            train_cohort_size=work.clients,
            val_cohort_size=0,
        ),
        SimulatedBackend(training_data=clients, val_data=clients),
        model,
        NNTrainHyperParams(
            local_learning_rate=work.learning_rate, local_num_epochs=1, local_batch_size=work.batch_size
        ),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    return clock.stamps, weights_of(network)


def federated_dataset(work: Work) -> FederatedDataset:
    """The clients of each round in turn, with their examples in order."""
    calls = itertools.count()

    def dataset(call: int) -> Dataset:
        x, y = work.examples(*divmod(call, work.clients))
        images = torch.from_numpy(x).reshape(-1, 1, 28, 28)
        return Dataset((images, torch.from_numpy(y).long()))

    return FederatedDataset(dataset, lambda: next(calls))


def set_weights(network: Network, weights: list[np.ndarray]) -> None:
    """Take weights in Keras layout."""
    first, first_bias, second, second_bias, dense, dense_bias = weights
    # Keras flattens rows, columns, channels; torch channels, rows, columns.
    dense = dense.reshape(7, 7, 32, 10).transpose(3, 2, 0, 1).reshape(10, -1)
    kernels = [kernel.transpose(3, 2, 0, 1) for kernel in (first, second)]
    with torch.no_grad():
        values = (kernels[0], first_bias, kernels[1], second_bias, dense, dense_bias)
        for parameter, value in zip(network.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def weights_of(network: Network) -> list[np.ndarray]:
    """Weights in Keras layout."""
    values = [parameter.detach().numpy() for parameter in network.parameters()]
    first, first_bias, second, second_bias, dense, dense_bias = values
    dense = dense.reshape(10, 32, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 10)
    return [first.transpose(2, 3, 1, 0), first_bias, second.transpose(2, 3, 1, 0), second_bias, dense, dense_bias]


if __name__ == "__main__":
    work_path, result_path = paths()
    torch.set_num_threads(cores())
    save(result_path, *run(load(work_path)))
