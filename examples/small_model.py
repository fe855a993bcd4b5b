"""Any Keras model, made small and exact for a microcontroller: fewer channels, then int8 that training has seen."""

from pathlib import Path

import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fedkd import convert, cost, describe, predict, prune_channels, quantize_aware

digits = load_digits()
images = (digits.images / 16).astype("float32")[..., None]
x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.2, random_state=0)


def fit(model: keras.Model, epochs: int) -> float:
    """Train a classifier; return its accuracy on the test set."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    return model.evaluate(x_test, y_test, verbose=0)[1]


keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((8, 8, 1))])
for filters in (16, 32):
    model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
    model.add(layers.BatchNormalization(momentum=0.9))
    model.add(layers.ReLU())
    model.add(layers.MaxPooling2D())
model.add(layers.Flatten())
model.add(layers.Dense(10))
print(f"whole: {fit(model, 10):.3f}, {cost(model).macs:,} multiplications")

smaller = prune_channels(model, macs=0.5)
print(f"half of them: {fit(smaller, 5):.3f}, {cost(smaller).macs:,} multiplications")

aware, skipped = quantize_aware(smaller)
print(f"rounded in training: {fit(aware, 5):.3f}, {len(skipped)} layers skipped")

folder = Path("runs/small_model")
folder.mkdir(parents=True, exist_ok=True)
aware.save(folder / "aware.keras")
(int8,) = convert(folder / "aware.keras", x[:64], folder, ["int8"], "small")
if int8.path is None:
    raise SystemExit(int8.error)
right = (predict(int8.path, x_test).argmax(-1) == y_test).mean()
print(f"{int8.path}: {right:.3f} in LiteRT, {describe(int8.path)['bytes']:,} bytes")
