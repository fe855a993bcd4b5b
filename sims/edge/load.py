"""Models out of files that somebody else may have written: what can't be loaded is said in one line."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import keras

from fedkd.base.errors import InputError
from fedkd.base.user_code import import_module
from fedkd.edge.inference import in_float32
from fedkd.models.graph import functional

_UNKNOWN = re.compile(r"(?:Could not locate class|Unknown layer:?) '?(?:\w+>)?(\w+)")
_REASON = "Exception encountered: "  # before the innermost of what Keras says


def import_layers(modules: Sequence[str]) -> None:
    """Import modules of the user's own that register layers.

    Raises:
        InputError: One can't be imported.
    """
    for name in modules:
        try:
            import_module(name)
        except InputError:
            raise
        except Exception as error:  # a module may raise anything
            raise InputError(f"--module {name}: can't be imported ({type(error).__name__}: {error})") from None


def load_model(path: Path, trust: bool = False) -> keras.Model:
    """Load a model of Keras' layers, this project's own and those that were registered, in float32.

    Args:
        path: A .keras file, or an .h5 file that holds a whole model.
        trust: Whether Python code that it holds, in Lambda layers, may run.

    Raises:
        InputError: It is neither, Keras can't load it, it holds code, or its graph can't be seen.
    """
    import fedkd.compress.fake_quant
    import fedkd.compress.words
    import fedkd.models.transformer  # noqa: F401  (all for the layers that Keras finds by registered name)

    if h5py.is_hdf5(path):
        _check_whole(path)
    elif not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a .keras file, or a damaged one")
    if trust:
        keras.config.enable_unsafe_deserialization()  # for copies of such layers, too
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=not trust)
    except Exception as error:  # Keras raises a dozen kinds
        raise InputError(f"{path}: {_why(error)}") from None
    return functional(in_float32(model))


def _check_whole(path: Path) -> None:
    """Raise InputError on a file of weights alone, or of a name by which Keras doesn't know it."""
    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise InputError(
                f"{path}: holds weights and no model; load them into the model, and save that as a .keras file"
            )
    if path.suffix not in (".h5", ".hdf5"):
        raise InputError(f"{path}: an HDF5 file, whose name must end in .h5 or .hdf5")


def _why(error: Exception) -> str:
    """Why Keras can't load a model, and what to do about it, in one line."""
    text = " ".join(str(error).split())
    if unknown := _UNKNOWN.search(text):
        return (
            f"its layer {unknown[1]!r} isn't known here; give --module NAME, the Python module that registers it with"
            " keras.saving.register_keras_serializable"
        )
    if "Lambda" in text and ("safe_mode" in text or "arbitrary code" in text or "unsafe" in text):
        return "a Lambda layer of it is Python code that would run here; give --trust if you know whose it is"
    reason = text.rpartition(_REASON)[2].partition(" config={")[0]
    return f"can't be loaded by Keras ({type(error).__name__}: {reason})"
