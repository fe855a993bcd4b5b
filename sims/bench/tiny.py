"""``fedkd bench tiny``: the reference networks of MLPerf Tiny, made small, and what their files need.

Each is trained a little on data that is made for it: enough for files whose answers vary, not for an accuracy that
would say something of the benchmark's own tasks.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from fedkd.base.errors import RunError
from fedkd.compress.constraints import keep_clusters
from fedkd.compress.cost import cost
from fedkd.compress.fold import folded
from fedkd.compress.qat import quantize_aware, unaware
from fedkd.compress.structured import prune_channels
from fedkd.edge.convert import convert
from fedkd.edge.interpreter import opened
from fedkd.edge.measure import Measurement, measure
from fedkd.edge.tflm import TFLM
from sims.bench.report import Row
from sims.bench.tiny_networks import NETWORKS, Examples, Network, examples

WHOLE, HALF, CLUSTERS = "whole", "half of the multiplications", "16 values a kernel"
BITS = 4
_SEED, _BATCH, _CALIBRATION = 0, 16, 64
_STEPS = 2.0  # of an output, that a number of the file may be off and still count as agreeing


class Variant(NamedTuple):
    """A network made small in one way.

    Args:
        name: WHOLE, HALF or CLUSTERS.
        plain: Without rounding.
        aware: Trained with int8's rounding; ``plain`` has its weights.
        skipped: Layers whose rounding ``aware`` doesn't see, and why.
        precision: That it was trained for.
    """

    name: str
    plain: keras.Model
    aware: keras.Model
    skipped: dict[str, str]
    precision: str


class Files(NamedTuple):
    """The device files of a variant, and the integer one run over test examples."""

    float32: Path
    integers: Path
    measured: Measurement


def variants(network: Network, train: Examples) -> list[Variant]:
    """Train a network, and what becomes of it: as it is, with half of its multiplications, with clustered kernels."""
    keras.utils.set_random_seed(_SEED)
    model = fitted(network.build(), network, train, 4)
    half = fitted(prune_channels(model, 0.5), network, train, 3)
    flat = folded(model)
    return [
        _aware(WHOLE, model, network, train),
        _aware(HALF, half, network, train),
        _aware(CLUSTERS, flat, network, train),
    ]


def fitted(model: keras.Model, network: Network, train: Examples, epochs: int, slower: float = 1.0) -> keras.Model:
    """Train a model in place, within its constraints, by Adam of the network's rate divided by ``slower``."""
    loss = "sparse_categorical_crossentropy" if network.classes else "mean_squared_error"
    model.compile(keras.optimizers.Adam(network.rate / slower), loss, jit_compile=False)
    model.fit(train.x, train.y, batch_size=_BATCH, epochs=epochs, verbose=0)
    return model


def _aware(name: str, plain: keras.Model, network: Network, train: Examples) -> Variant:
    clusters = name == CLUSTERS
    aware, skipped = quantize_aware(plain, per_tensor=clusters)
    if clusters:
        keep_clusters(aware, BITS)
    fitted(aware, network, train, 2, slower=10)
    return Variant(name, unaware(aware, plain), aware, skipped, "int8_per_tensor" if clusters else "int8")


def files(variant: Variant, train: Examples, test: Examples, folder: Path) -> Files:
    """Convert a variant, and run its integer file in LiteRT and, where it is installed, in TensorFlow Lite Micro.

    Raises:
        RunError: A file can't be made or run.
    """
    wanted = {"float32": variant.plain, variant.precision: variant.aware}
    found = [_converted(model, precision, train, folder) for precision, model in wanted.items()]
    runtimes = ("litert", "tflm") if TFLM.installed() else ("litert",)
    measured = measure(found[1], test.x, runtimes)
    if measured.errors:
        raise RunError(f"{variant.aware.name}, {variant.name}: {next(iter(measured.errors.values()))}")
    return Files(found[0], found[1], measured)


def _converted(model: keras.Model, precision: str, train: Examples, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    (done,) = convert(folder / "model.keras", train.x[:_CALIBRATION], folder, [precision], "model")
    if done.path is None:
        raise RunError(f"{model.name} in {precision}: {done.error}")
    return done.path


def agreement(variant: Variant, made: Files, test: Examples) -> float:
    """Share of answers that the file gives as the model that was trained: the lower of all runtimes.

    Answers are classes; of a reconstruction all its numbers, which agree where they are two steps apart at most.
    """
    expected, step = variant.aware.predict(test.x, verbose=0), made.measured.output_scale
    classes = test.y.ndim == 1
    return min(
        float(np.mean(found.argmax(1) == expected.argmax(1) if classes else np.abs(found - expected) <= _STEPS * step))
        for found in made.measured.outputs.values()
    )


def rows(names: Sequence[str] = tuple(NETWORKS)) -> list[Row]:
    """Make some of the networks small in three ways each, and measure them; see ``Variant`` for the ways.

    Args:
        names: Of ``NETWORKS``.

    Raises:
        RunError: A file can't be made or run.
    """
    found = []
    for name in names:
        train, test = examples(NETWORKS[name], np.random.default_rng(_SEED))
        for variant in variants(NETWORKS[name], train):
            with tempfile.TemporaryDirectory(prefix="fedkd-bench-") as folder:
                made = files(variant, train, test, Path(folder))
                found.append(row(NETWORKS[name].title, variant, made, test))
    return found


def row(title: str, variant: Variant, made: Files, test: Examples) -> Row:
    """What is measured of a variant of the network of a title."""
    needs, measured = cost(variant.plain), made.measured
    return {
        "network": title,
        "variant": variant.name,
        "parameters": needs.parameters,
        "multiplications": needs.macs,
        "float32_bytes": made.float32.stat().st_size,
        "int8_bytes": measured.flash_bytes,
        "int8_gzip_bytes": measured.gzip_bytes,
        "arena_bytes": measured.arena.total if measured.arena else None,
        "values_a_kernel": max(len(np.unique(kernel)) for kernel in kernels_of(made.integers)),
        "skipped_layers": len(variant.skipped),
        "agreement": agreement(variant, made, test),
    }


def kernels_of(path: Path) -> list[np.ndarray]:
    """The constants of two axes or more that a file holds, as it holds them."""
    interpreter, found = opened(path), []
    for tensor in interpreter.get_tensor_details():
        with contextlib.suppress(ValueError):  # what it computes can't be read before it runs
            found.append(interpreter.get_tensor(tensor["index"]))
    return [constant for constant in found if constant.ndim > 1]
