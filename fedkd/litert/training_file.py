"""A client's training as one TFLite file: what ``fedkd.litert.trainer`` runs without TensorFlow.

Its signatures: ``train`` takes a batch, the client's state and random numbers, and returns the state and the losses;
``infer_ROLE`` takes a model's weights and inputs, and returns logits; ``initial`` takes nothing and returns the state
of a client that has never trained, and ``record``, what else the trainer must know, as JSON in UTF-8.

Every argument has an axis: not each of LiteRT's wheels takes others, so that a single number has shape (1,).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fedkd.base.tensors import State
from fedkd.distill.keras_trainer import Bounds, KerasTrainer, Shares
from fedkd.litert.gradients import differentiate
from fedkd.litert.lower import Lowered, to_tflite, without_draws
from fedkd.litert.trainer import key


def training_file(
    trainer: KerasTrainer, x: np.ndarray, y: np.ndarray, bounds: Sequence[str], about: Mapping[str, Any] | None = None
) -> bytes:
    """Make the file.

    Args:
        trainer: Of the models, losses and optimisers; not used otherwise while this runs.
        x: At least one input, for its shape and dtype.
        y: At least one target, likewise.
        bounds: Of ``masks``, ``anchors`` and ``corrections`` those that training will be given for the shared model,
            as ``ROLE.masks`` and so on.
        about: What else whoever opens the file must know, for JSON.

    Returns:
        A TFLite file of built-in operations.

    Raises:
        InputError: A layer, loss or optimiser has operations that LiteRT lacks.
    """
    state = trainer.initial_state()
    train = _train(trainer, state, x, y, bounds)
    record = {
        "batch": trainer.train.batch_size,
        "unlabelled_ratio": trainer.ratio,
        "roles": list(trainer.roles),
        "groups": {group: len(arrays) for group, arrays in state.items()},
        "trainable": {role: trainer.trainable(role, range(len(state[role]))) for role in trainer.roles},
        "bounds": list(bounds),
        "draws": train.draws,
        "about": about,
    }
    infer = {f"infer_{role}": _infer(trainer, role, state, x) for role in trainer.roles}
    return to_tflite({"train": train, **infer, "initial": _initial(state, record)})


def _specs(groups: Mapping[str, Sequence[np.ndarray]]) -> dict[str, tf.TensorSpec]:
    return {
        key(group, i): tf.TensorSpec(array.shape or (1,), array.dtype)
        for group, arrays in groups.items()
        for i, array in enumerate(arrays)
    }


def _shaped(named: Mapping[str, Any], groups: Mapping[str, Sequence[np.ndarray]]) -> dict[str, list[Any]]:
    """Take the tensors of some groups from a signature's arguments, in the shapes of arrays."""
    return {
        group: [tf.reshape(named[key(group, i)], array.shape) for i, array in enumerate(arrays)]
        for group, arrays in groups.items()
    }


def _train(trainer: KerasTrainer, state: State, x: np.ndarray, y: np.ndarray, bounds: Sequence[str]) -> Lowered:
    size = trainer.train.batch_size * (1 + trainer.ratio)
    held = {name: trainer.trainable(role, state[role]) for name in bounds for role in [name.partition(".")[0]]}
    seeds = {role: learner.seeds(np.random.default_rng(0)) for role, learner in trainer.learners.items()}

    def step(**named: Any) -> dict[str, Any]:
        given = _shaped(named, state)
        held_back = _shaped(named, held)
        kinds = [
            {name.partition(".")[0]: tensors for name, tensors in held_back.items() if name.endswith(f".{kind}")}
            for kind in Bounds._fields
        ]
        drawn = keras.tree.map_structure(tf.constant, seeds)
        shares = Shares(named["share"], named["task_share"])
        (after, _), losses = trainer.step(
            given, drawn, Bounds(*kinds), named["rate"][0], named["x"], named["y"], shares, differentiate
        )
        found = {key(group, i): tensor for group, tensors in after.items() for i, tensor in enumerate(tensors)}
        return found | {f"loss_{role}": loss for role, loss in losses.items()}

    lot = {
        "x": tf.TensorSpec((size, *x.shape[1:]), x.dtype),
        "y": tf.TensorSpec((size, *y.shape[1:]), y.dtype),
        "share": tf.TensorSpec((size,), tf.float32),
        "task_share": tf.TensorSpec((size,), tf.float32),
        "rate": tf.TensorSpec((1,), tf.float32),
    }
    return without_draws(step, {**_specs(state), **_specs(held), **lot})


def _infer(trainer: KerasTrainer, role: str, state: State, x: np.ndarray) -> Lowered:
    learner = trainer.learners[role]
    seeds = learner.seeds(np.random.default_rng(0))

    def logits(**named: Any) -> dict[str, Any]:
        weights = _shaped(named, {role: state[role]})[role]
        return {"logits": learner.logits(weights, [tf.constant(seed) for seed in seeds], named["x"])}

    # By the batch of a step: more at once would take more memory than the training.
    inputs = {"x": tf.TensorSpec((trainer.train.batch_size, *x.shape[1:]), x.dtype)}
    return without_draws(logits, {**_specs({role: state[role]}), **inputs})


def _initial(state: State, record: Mapping[str, Any]) -> Lowered:
    text = np.frombuffer(json.dumps(record).encode(), np.uint8)

    def constants() -> dict[str, Any]:
        found = {key(group, i): tf.constant(array) for group, arrays in state.items() for i, array in enumerate(arrays)}
        return found | {"record": tf.constant(text)}

    return Lowered(constants, {}, ())
