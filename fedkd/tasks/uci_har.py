"""Human activity from a phone's sensors, read from the zip that UCI's repository offers (data set 240)."""

import io
import zipfile
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError

_INNER = "UCI HAR Dataset.zip"
_SIGNALS = tuple(f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
# Of what neighbours share, after it was written as text: half the smallest step of the sensors, in g and rad/s.
_EQUAL = 1e-4


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the windows, their people and their stretches of recording from UCI's zip, or from the zip around it.

    Args:
        path: ``UCI HAR Dataset.zip``, or the download that holds it.

    Returns:
        x_* float32 (n, 128, 9) with body acceleration, rotation and total acceleration by axis; y_* from 0; client_*
        the person; segment_* the stretch of overlapping windows; classes.

    Raises:
        InputError: Not a zip, or files of the data set are missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as outer:
            inner = next((name for name in outer.namelist() if name.endswith(_INNER)), None)
            if inner is None:
                return _arrays(outer)
            with zipfile.ZipFile(io.BytesIO(outer.read(inner))) as archive:
                return _arrays(archive)
    except KeyError as error:
        raise InputError(f"{path}: not UCI's HAR data, the zip holds no {error.args[0]}") from None
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on damaged files
        raise InputError(f"{path}: not readable as UCI's HAR data ({' '.join(str(error).split())})") from None


def _arrays(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    # Folders differ between UCI's downloads, names of files don't; a Mac added shadows of all of them.
    files = {Path(name).name: name for name in archive.namelist() if not name.startswith("__MACOSX")}
    labels = archive.read(files["activity_labels.txt"]).decode().split()
    arrays = {"classes": np.array(labels[1::2])}
    for split in ("train", "test"):
        signals = [_table(archive, files[f"{signal}_{split}.txt"]) for signal in _SIGNALS]
        arrays[f"x_{split}"] = x = np.stack(signals, axis=-1)
        arrays[f"y_{split}"] = _table(archive, files[f"y_{split}.txt"])[:, 0].astype(np.int32) - 1
        arrays[f"client_{split}"] = _table(archive, files[f"subject_{split}.txt"])[:, 0].astype(np.int32)
        arrays[f"segment_{split}"] = segments(x)
    return arrays


def _table(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        return np.loadtxt(io.TextIOWrapper(file, "ascii"), np.float32, ndmin=2)


def segments(x: np.ndarray) -> np.ndarray:
    """Number the stretches of windows (n, steps, channels) of which each starts with the last half of the one before.

    >>> segments(np.array([[1, 2], [2, 3], [5, 6]])[..., None]).tolist()
    [0, 0, 1]
    """
    half = x.shape[1] // 2
    apart = np.abs(x[:-1, half:] - x[1:, :half]).max(axis=(1, 2)) > _EQUAL
    return np.concatenate([[0], np.cumsum(apart)])
