"""A task of your own, in 20 lines: `fedkd run --task examples.my_task:task --rounds 5`."""

import keras
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from fedkd import Dataset, Task


def network(width):
    inputs = keras.Input((13,))
    hidden = keras.layers.Dense(width, activation="relu")(inputs)
    return keras.Model(inputs, {"logits": keras.layers.Dense(3)(hidden), "hidden": [hidden]})


def task():
    x, y = load_wine(return_X_y=True)
    x, x_test, y, y_test = train_test_split(scale(x).astype("float32"), y.astype("int32"), random_state=0)
    train, test = Dataset(x, y), Dataset(x_test, y_test)
    settings = {"clients": 4, "train.epochs": 10, "train.batch_size": 8}
    return Task("wine", ("0", "1", "2"), train, test, lambda: network(256), lambda: network(16), defaults=settings)
