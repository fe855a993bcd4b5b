"""Weights from a file: what is in it is compared with the model in full before any of it is taken."""

import io
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.models.inspect import head


class Stored(NamedTuple):
    """A tensor of a file: its shape, the name of its layer, and whether it holds NaN or Inf."""

    shape: tuple[int, ...]
    layer: str
    finite: bool


def load_weights(model: keras.Model, path: Path) -> None:
    """Give a model all weights of a file but those of its head, which keeps its own: classes may be others there.

    Keras stores a layer by its class and its number among the layers of that class, so names, which it may have chosen
    itself, don't matter.

    Args:
        model: Changed in place.
        path: A ``.weights.h5`` of Keras 3, or a whole ``.keras`` model.

    Raises:
        InputError: The file can't be read, or isn't of such a model: it names the first tensor that differs.
    """
    last = head(model)
    (wanted, place), (found, _) = _of_model(model, last.name), _of_file(path)
    if difference := _difference(*(_without(tensors, place) for tensors in (wanted, found))):
        raise InputError(f"{path}: doesn't fit the teacher: {difference}")
    kept = last.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the head, where it has other classes
        model.load_weights(path, skip_mismatch=True)
    last.set_weights(kept)


def _difference(wanted: dict[str, Stored], found: dict[str, Stored]) -> str:
    for name, tensor in wanted.items():
        if name not in found:
            return f"{name} ({tensor.layer}) of shape {tensor.shape} is missing"
        if found[name].shape != tensor.shape:
            return f"{name} ({tensor.layer}) must have shape {tensor.shape}, got {found[name].shape}"
        if not found[name].finite:
            return f"{name} ({tensor.layer}) holds NaN or Inf"
    extra = next((name for name in found if name not in wanted), None)
    return f"{extra} of shape {found[extra].shape} has no place in it" if extra else ""


def _without(tensors: dict[str, Stored], place: str) -> dict[str, Stored]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(place)}


def _of_model(model: keras.Model, layer: str) -> tuple[dict[str, Stored], str]:
    """What Keras writes of a model, the only public way to learn where it stores each tensor, and a layer's place."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        model.save_weights(path)
        tensors, places = _of_file(path)
    return tensors, places[layer]


def _of_file(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """Tensors of a file by their places, and the places of its layers by their names."""
    try:
        with _opened(path) as file:
            tensors, layers = dict(_tensors(file)), file.get("layers", {})
            places = {group["vars"].attrs["name"]: f"layers/{name}/" for name, group in layers.items()}
    except Exception as error:  # zipfile, zlib and HDF5 raise a dozen kinds on damaged files
        raise InputError(f"{path}: not a readable file of Keras weights ({error})") from None
    if not tensors:
        raise InputError(f"{path}: holds no layers; `fedkd pretrain` and Keras 3's save_weights write such files")
    return tensors, places


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if path.suffix != ".keras":
        with h5py.File(path) as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        yield file


def _tensors(file: h5py.File) -> Iterator[tuple[str, Stored]]:
    """Tensors of layers by their places, without the states of random layers, nor those of an optimiser."""
    datasets: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, item: datasets.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    for name, item in datasets:
        if name.startswith("layers/") and "/seed_generator/" not in name:
            finite = item.dtype.kind != "f" or bool(np.isfinite(item[()]).all())
            yield name, Stored(tuple(item.shape), str(item.parent.attrs.get("name", "")), finite)
