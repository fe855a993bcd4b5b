"""FedAvg of a Keras model in Flower's simulation engine, after its TensorFlow quickstart.

The clients run in Ray's processes, which import this module by name: what it caches stays there between calls.
"""

# mypy: disable-error-code="import-not-found"

import functools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from work_file import Work, cores, load, paths, save

if TYPE_CHECKING:
    import keras

ModelMaker = Callable[[float], "keras.Model"]


class StrictFedAvg(FedAvg):
    """FedAvg that ends the run where a client failed, instead of averaging the others."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the clients' weights."""
        replies = list(replies)
        for reply in replies:
            if reply.has_error():
                raise RuntimeError(f"a client failed in round {server_round}: {reply.error.reason}")
        return super().aggregate_train(server_round, replies)


def fresh_model(learning_rate: float) -> "keras.Model":
    """A new model for every call, as the quickstart has it."""
    import keras

    keras.backend.clear_session()
    return _model(learning_rate)


@functools.cache
def kept_model(learning_rate: float) -> "keras.Model":
    """The one model of this process."""
    return _model(learning_rate)


def simulate(make_model: ModelMaker) -> None:
    """Run the work that the command line names.

    Args:
        make_model: Takes the learning rate and returns the compiled model of a client's call.
    """
    work_path, result_path = paths()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="ray-") as ray_folder:
        warnings.simplefilter("ignore")
        from flwr.simulation import run_simulation

        start = {"num_cpus": cores(), "log_to_driver": False, "logging_level": "ERROR", "_temp_dir": ray_folder}
        backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": start}
        work = load(work_path)
        apps = _server_app(work, result_path), _client_app(work_path, make_model)
        run_simulation(*apps, num_supernodes=work.clients, backend_config=backend)


def _server_app(work: Work, result_path: str) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = StrictFedAvg(fraction_evaluate=0.0, min_train_nodes=work.clients, min_available_nodes=work.clients)
        stamps: list[float] = []

        def stamp(server_round: int, arrays: ArrayRecord) -> None:
            # The strategy calls this before the first round and after each.
            stamps.append(time.perf_counter())

        result = strategy.start(grid, ArrayRecord(work.weights), num_rounds=work.rounds, evaluate_fn=stamp)
        save(result_path, stamps, result.arrays.to_numpy_ndarrays())

    return app


def _client_app(work_path: str, make_model: ModelMaker) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _train(_loaded(work_path), make_model, message, context)

    return app


def _train(work: Work, make_model: ModelMaker, message: Message, context: Context) -> Message:
    model = make_model(work.learning_rate)
    model.set_weights(message.content.array_records["arrays"].to_numpy_ndarrays())
    server_round = cast(int, message.content.config_records["config"]["server-round"])
    x, y = work.examples(server_round - 1, int(context.node_config["partition-id"]))
    model.fit(x, y, batch_size=work.batch_size, epochs=1, shuffle=False, verbose=0)
    metrics = MetricRecord({"num-examples": len(x)})
    return Message(RecordDict({"arrays": ArrayRecord(model.get_weights()), "metrics": metrics}), reply_to=message)


@functools.cache
def _loaded(work_path: str) -> Work:
    """The work, read once per process."""
    return load(work_path)


def _model(learning_rate: float) -> "keras.Model":
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(learning_rate), loss)
    return model
