"""``fedkd bench profile``: where the time of a client's round goes, by part and by operation, on one core."""

import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from clients.node.state_file import StateFile
from fedkd.base import runtime
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import subtract
from fedkd.distill.batches import batches
from fedkd.distill.keras_trainer import Bounds
from fedkd.exchange.codec import decode, encode
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import header_of
from fedkd.protocol.local import keras_trainer
from fedkd.protocol.resolve import experiment_of
from fedkd.protocol.state import ClientState
from sims.bench import work
from sims.bench.measure import make_experiment
from sims.bench.report import Row
from sims.bench.timing import timed

Spent = dict[str, float]
_OPERATIONS = 12  # in the table; the others are one row


def rows(rate: float, repeats: int, task: str = "", data: str = "") -> list[Row]:
    """Profile a task as it ships, or both works and the operations of their training.

    Args:
        rate: Rate of one core's matrix products, in 10⁹ operations a second.
        repeats: Clients to average over.
        task: Empty for the works.
        data: File with the task's data, where it needs one.

    Raises:
        InputError: There is no such task, or it lacks its data.
    """
    if task:
        return _table(task, "part", _parts(experiment_of({"task": task, "data": data}), repeats), rate)
    table: list[Row] = []
    for name in work.SETTINGS:
        experiment = make_experiment(name, 10, 2)
        table += _table(name, "part", _parts(experiment, repeats), rate)
        table += _table(name, "operation", _operations(experiment, repeats), rate)
    return table


def _table(name: str, kind: str, spent: Spent, rate: float) -> list[Row]:
    total = sum(spent.values())
    return [
        {"work": name, "part": None, "operation": None}
        | {kind: what, "ms": 1e3 * s, "share": s / total, "gflop": s * rate}
        for what, s in _descending(spent)
    ]


def _parts(experiment: Experiment, repeats: int) -> Spent:
    """Seconds of each part of a client's round, and of the server's part in it; means over clients."""
    spent: dict[str, list[float]] = defaultdict(list)
    trainer, spec, shared = experiment.local().trainer, experiment.spec, experiment.config.exchange.shared
    coding = experiment.coding("up", experiment.energy(1))
    local = trainer.initial_state()
    new = ClientState(1, local.pop(shared), local)
    trainer.fit({**new.local, shared: new.base}, experiment.client_data(0)[0], generator(0, Purpose.TRAINING, 0, 0))
    with tempfile.TemporaryDirectory(prefix="fedkd-bench-") as folder, runtime.inline_operations():
        for client in range(repeats):
            vault = StateFile(Path(folder) / "clients.state", "run", client, new)
            vault.save(new)
            with timed(spent["state: read"]):
                state = vault.load() or new
            with timed(spent["examples"]):
                data, _ = experiment.client_data(client % experiment.config.clients)
            rng = generator(0, Purpose.TRAINING, 1, client)
            with timed(spent["training"]):
                after, _ = trainer.fit({**state.local, shared: state.base}, data, rng)
            update = subtract(after.pop(shared), state.base)
            with timed(spent["update: SVD and encode"]):
                blob = encode(update, spec, header_of(1, "0" * 64, experiment), coding)
            with timed(spent["state: write"]):
                vault.save(ClientState(1, state.base, after))
            with timed(spent["update: check and decode (server)"]):
                decode(blob, spec)
    return {part: statistics.mean(seconds) for part, seconds in spent.items()}


def _descending(spent: Spent) -> list[tuple[str, float]]:
    return sorted(spent.items(), key=lambda item: -item[1])


def _operations(experiment: Experiment, repeats: int) -> Spent:
    """Seconds of each kind of TensorFlow operation in a client's training."""
    trainer, data, rng = keras_trainer(experiment), experiment.client_data(0)[0], np.random.default_rng(0)
    rows, shares = batches(len(data), experiment.config.train.batch_size, experiment.config.train.epochs, rng)
    seeds = {role: learner.seeds(rng) for role, learner in trainer.learners.items()}
    values = ((trainer.initial_state(), seeds), np.float32(1), data.x[rows], data.y[rows], shares)
    graph = tf.Graph()
    with graph.as_default():
        inputs = tf.nest.map_structure(lambda a: tf.compat.v1.placeholder(a.dtype, a.shape), values)
        carry, *others = inputs
        outputs = trainer.steps(carry, Bounds({}, {}, {}), *others)
    feed = dict(zip(tf.nest.flatten(inputs), tf.nest.flatten(values), strict=True))
    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    spent: Spent = defaultdict(float)
    with tf.compat.v1.Session(graph=graph, config=config) as session:
        for repeat in range(repeats + 2):
            trace = tf.compat.v1.RunMetadata()
            session.run(outputs, feed, options=options, run_metadata=trace)
            if repeat > 1:  # the first two warm up
                for kind, seconds in _seconds(trace).items():
                    spent[kind] += seconds
    top = dict(_descending(spent)[:_OPERATIONS])
    top["all others"] = sum(spent.values()) - sum(top.values())
    return {kind: seconds / repeats for kind, seconds in top.items()}


def _seconds(trace: Any) -> Spent:
    """Seconds of each kind of operation and shape of its result."""
    spent: Spent = defaultdict(float)
    for node in (node for device in trace.step_stats.dev_stats for node in device.node_stats):
        kind = node.timeline_label.partition("=")[2].partition("(")[0].strip() or node.node_name
        sizes = [str(d.size) for d in node.output[0].tensor_description.shape.dim] if node.output else []
        name = f"{kind.replace('_Mkl', '').replace('Native', '')} {'x'.join(sizes)}".strip()
        spent[name] += (node.all_end_rel_micros - node.op_start_rel_micros) / 1e6
    return spent
