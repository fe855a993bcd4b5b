"""Data sets that Keras downloads, in the arrays of an .npz task."""

import numpy as np

from fedkd.base import runtime
from fedkd.base.errors import InputError


def download(name: str) -> dict[str, np.ndarray]:
    """Return x_train y_train x_test y_test of a module of ``keras.datasets``, from Keras' cache where they are in it.

    Raises:
        InputError: They can't be downloaded; says how to do without.
    """
    runtime.configure()
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises plain Exception where a download fails
        reason = " ".join(str(error).split())
        raise InputError(
            f"task {name!r}: Keras can't download it ({reason}); fetch it elsewhere and give --data FILE, an .npz with"
            f" x_train y_train x_test y_test"
        ) from None
    return {"x_train": x_train, "y_train": y_train.reshape(-1), "x_test": x_test, "y_test": y_test.reshape(-1)}
