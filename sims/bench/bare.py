"""The same work as a loop by hand: TensorFlow's own operations on as many threads as cores, without a framework.

What such a loop leaves of the machine's floor, no framework on TensorFlow can get back.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from fedkd.base import runtime
from fedkd.base.tensors import Weights
from fedkd.config.sections import LossConfig
from fedkd.distill.losses import mutual_losses
from fedkd.models.inspect import Outputs
from fedkd.objectives.objective import Objective
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.local import keras_trainer
from sims.bench.measure import Measured, batch_order
from sims.bench.timing import timed

Model = Sequence[Any]


def logits(weights: Model, x: Any) -> Any:
    """Two convolutions with poolings, then the dense layers that are left."""
    for kernel, bias in (weights[0:2], weights[2:4]):
        x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias)), 2, 2, "VALID")
    x = tf.reshape(x, (x.shape[0], -1))
    for kernel, bias in zip(weights[4:-2:2], weights[5:-2:2], strict=True):
        x = tf.nn.relu(x @ kernel + bias)
    return x @ weights[-2] + weights[-1]


def bare_loop(experiment: Experiment) -> Measured:
    """Train every client in turn and average the students: no messages, no coding, no files."""
    roles = keras_trainer(experiment).learners
    loss, rate = experiment.config.loss, experiment.config.train.student_lr
    step = tf.function(partial(epoch, loss=loss, objective=experiment.task.objective, rate=rate), autograph=False)
    teachers = [roles["teacher"].initial() if "teacher" in roles else [] for _ in range(experiment.config.clients)]
    data = [experiment.client_data(i)[0] for i in range(experiment.config.clients)]
    student = roles["student"].initial()
    seconds: list[float] = []

    def client(i: int, base: Weights, round_: int) -> Weights:
        rows = batch_order(experiment, round_, i)
        with runtime.inline_operations():
            teacher, after = step(*tensors((teachers[i], base, data[i].x[rows], data[i].y[rows])))
        teachers[i] = [t.numpy() for t in teacher]
        return [t.numpy() for t in after]

    client(0, student, 1)  # compiles, before the threads do
    teachers[0] = roles["teacher"].initial() if "teacher" in roles else []
    with ThreadPoolExecutor(runtime.cores()) as pool:
        for round_ in range(1, experiment.config.rounds + 1):
            with timed(seconds):
                students = list(pool.map(partial(client, base=student, round_=round_), range(len(data))))
                student = [np.mean(arrays, 0) for arrays in zip(*students, strict=True)]
    return Measured(seconds[1:], student)


def tensors(values: Any) -> Any:
    """Make tensors of nested arrays."""
    return tf.nest.map_structure(tf.convert_to_tensor, values)


def epoch(
    teacher: Model, student: Model, x: Any, y: Any, loss: LossConfig, objective: Objective, rate: float
) -> tuple[Model, Model]:
    """One pass of plain SGD over x (steps, n, ...) and y (steps, n), unrolled."""
    share = tf.fill((x.shape[1],), 1.0 / x.shape[1])
    for i in range(x.shape[0]):
        with tf.GradientTape() as tape:
            tape.watch((teacher, student))
            outputs = Outputs(logits(student, x[i]), (), ())
            if teacher:
                above = Outputs(logits(teacher, x[i]), (), ())
                total = tf.add_n(list(mutual_losses(above, outputs, [], y[i], share, loss, objective)))
            else:
                total = objective.loss(outputs.logits, y[i], share)
        slopes = tape.gradient(total, (teacher, student))
        teacher, student = (
            [w - rate * g for w, g in zip(model, gradients, strict=True)]
            for model, gradients in zip((teacher, student), slopes, strict=True)
        )
    return teacher, student
