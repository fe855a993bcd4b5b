"""FedAvg in Google's FedJAX, with a model in Haiku."""

# mypy: disable-error-code="import-not-found"

import time

import fedjax
import haiku as hk
import jax
import numpy as np
from fedjax.algorithms import fed_avg
from work_file import Work, load, paths, save

# FedJAX 0.0.17 calls it by its old name, which JAX has dropped. An older JAX that still has it, 0.4.38, trains at less
# than half the speed.
if not hasattr(jax, "tree_map"):
    jax.tree_map = jax.tree_util.tree_map

NAMES = ("conv2_d", "conv2_d_1", "linear")


def network(batch: fedjax.BatchExample) -> jax.Array:
    """Logits of a batch."""
    layers = [
        hk.Conv2D(16, 3),
        jax.nn.relu,
        hk.MaxPool((2, 2, 1), (2, 2, 1), "VALID"),
        hk.Conv2D(32, 3),
        jax.nn.relu,
        hk.MaxPool((2, 2, 1), (2, 2, 1), "VALID"),
        hk.Flatten(),
        hk.Linear(10),
    ]
    return hk.Sequential(layers)(batch["x"])


def model(work: Work) -> fedjax.Model:
    """The model as FedJAX wants it."""
    sample = {"x": work.x[0, :1], "y": work.y[0, :1]}
    return fedjax.create_model_from_haiku(
        transformed_forward_pass=hk.transform(network),
        sample_batch=sample,
        train_loss=lambda batch, logits: fedjax.metrics.unreduced_cross_entropy_loss(batch["y"], logits),
    )


def run(work: Work) -> tuple[list[float], list[np.ndarray]]:
    """Train; returns the clock at the start and after each round, and the last weights."""
    algorithm = fed_avg.federated_averaging(
        fedjax.model_grad(model(work)),
        fedjax.optimizers.sgd(work.learning_rate),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=work.batch_size, num_epochs=1, skip_shuffle=True),
    )
    kernels, biases = work.weights[::2], work.weights[1::2]
    params = {name: {"w": w, "b": b} for name, w, b in zip(NAMES, kernels, biases, strict=True)}
    state = algorithm.init(jax.tree_util.tree_map(jax.numpy.asarray, params))
    keys = jax.random.split(jax.random.PRNGKey(0), work.clients)
    stamps = [time.perf_counter()]
    for number in range(work.rounds):
        state, _ = algorithm.apply(state, [(i, dataset(work, number, i), keys[i]) for i in range(work.clients)])
        jax.block_until_ready(state.params)
        stamps.append(time.perf_counter())
    return stamps, [np.asarray(state.params[name][part]) for name in NAMES for part in ("w", "b")]


def dataset(work: Work, number: int, client: int) -> fedjax.ClientDataset:
    """A client's examples in the order of a round."""
    x, y = work.examples(number, client)
    return fedjax.ClientDataset({"x": x, "y": y})


if __name__ == "__main__":
    work_path, result_path = paths()
    save(result_path, *run(load(work_path)))
