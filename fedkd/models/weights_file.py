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

# Place of the weights in a .keras.
_HELD = "model.weights.h5"
# Bytes that a file's weights may have for each of the model's, and beside these: an optimiser's, a head of its own.
_EACH, _MORE = 32, 64 << 20


class Stored(NamedTuple):
    """A tensor of a file: its shape, and the name of its layer."""

    shape: tuple[int, ...]
    layer: str


def load_weights(model: keras.Model, path: Path, role: str) -> None:
    """Give a model the weights of a file: a student all of them, a teacher all but those of its head.

    A teacher's head keeps its own, since classes may be others there. Keras stores a layer by its class and its number
    among the layers of that class, so names, which it may have chosen itself, don't matter.

    Args:
        model: Changed in place.
        path: A ``.weights.h5`` of Keras 3, or a whole ``.keras`` model.
        role: ``teacher`` or ``student``.

    Raises:
        InputError: The file can't be read, or isn't of such a model: it names the first tensor that differs.
    """
    own = head(model) if role == "teacher" else None
    wanted, places = _of_model(model)
    found, _ = _of_file(path, _EACH * model.count_params() + _MORE)
    if own:
        wanted, found = (_without(tensors, places[own.name]) for tensors in (wanted, found))
    if difference := _difference(wanted, found) or _not_finite(path, wanted):  # no value is read before shapes agree
        raise InputError(f"{path}: doesn't fit the {role}: {difference}")
    kept = own.get_weights() if own else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the head, where it has other classes
        model.load_weights(path, skip_mismatch=True)
    if own:
        own.set_weights(kept)


def _difference(wanted: dict[str, Stored], found: dict[str, Stored]) -> str:
    for name, tensor in wanted.items():
        if name not in found:
            return f"{name} ({tensor.layer}) of shape {tensor.shape} is missing"
        if found[name].shape != tensor.shape:
            return f"{name} ({tensor.layer}) must have shape {tensor.shape}, got {found[name].shape}"
    extra = next((name for name in found if name not in wanted), None)
    return f"{extra} of shape {found[extra].shape} has no place in it" if extra else ""


def _not_finite(path: Path, tensors: dict[str, Stored]) -> str:
    with _opened(path) as file:
        for name, tensor in tensors.items():
            if file[name].dtype.kind == "f" and not np.isfinite(file[name][()]).all():
                return f"{name} ({tensor.layer}) holds NaN or Inf"
    return ""


def _without(tensors: dict[str, Stored], place: str) -> dict[str, Stored]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(place)}


def _of_model(model: keras.Model) -> tuple[dict[str, Stored], dict[str, str]]:
    """What Keras writes of a model, the only public way to learn where it stores each tensor; as ``_of_file``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        model.save_weights(path)
        return _of_file(path)


def _of_file(path: Path, most: int | None = None) -> tuple[dict[str, Stored], dict[str, str]]:
    """Tensors of a file by their places, and the places of its layers by their names.

    Args:
        path: The file.
        most: Bytes that its tensors may have once they are unpacked, for then they will be; None for any.
    """
    try:
        if most is not None and path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                size = archive.getinfo(_HELD).file_size
            _check_size(size, most)
        with _opened(path) as file:
            if most is not None:
                _check_size(sum(item.nbytes for name, item in _datasets(file) if name.startswith("layers/")), most)
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
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read(_HELD))) as file:
        yield file


def _tensors(file: h5py.File) -> Iterator[tuple[str, Stored]]:
    """Tensors of layers by their places, without the states of random layers, nor those of an optimiser."""
    for name, item in _datasets(file):
        if name.startswith("layers/") and "/seed_generator/" not in name:
            yield name, Stored(tuple(item.shape), str(item.parent.attrs.get("name", "")))


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    return found


def _check_size(size: int, most: int) -> None:
    """A few kilobytes can unpack to terabytes of zeros."""
    if size > most:
        raise ValueError(f"its weights unpack to {size:,} bytes, the model's are {most:,} at most")
