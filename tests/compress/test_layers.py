"""Laws of the table of layers: an entry is all that model surgery takes."""

import keras
import numpy as np
from keras import layers

from fedkd.compress.channels import channels
from fedkd.compress.cost import cost
from fedkd.compress.importance import nisp
from fedkd.compress.kernels import Mixing
from fedkd.compress.layers import INPUT, TRAITS, LayerTraits, inherited_traits, makes_channels, traits_of
from fedkd.compress.qat import skipped
from fedkd.compress.remove_channels import remove_channels
from fedkd.compress.structured import prune_channels


def test_entries_have_the_names_of_their_classes_and_twins_derive_from_them():
    for name, traits in TRAITS.items():
        assert traits.layer is None or traits.layer.__name__ == name
        assert traits.twin is None or issubclass(traits.twin, traits.layer)


def test_a_subclass_inherits_how_its_kernel_works_and_not_what_int8_makes_of_it():
    class Mine(layers.Conv2D):
        pass

    assert inherited_traits(Mine(4, 3)).kernel == Mixing()
    assert traits_of(Mine(4, 3)) == LayerTraits()
    assert not makes_channels(layers.Conv2D(4, 3, groups=2))


@keras.saving.register_keras_serializable("tests")
class Mixer(layers.Layer):
    """Makes channels of channels, like a dense layer, and is of no class that the table knows."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.width), initializer="glorot_uniform")

    def call(self, x):
        return x @ self.kernel

    def get_config(self):
        return super().get_config() | {"width": self.width}


def model_of(layer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    return keras.Model(inputs, layers.Dense(3)(layer(layers.Dense(8, activation="relu")(inputs))))


def test_an_unknown_layer_keeps_its_channels_and_is_named():
    model = model_of(Mixer(6, name="mixer"))
    assert not len(channels(model).removable)
    assert cost(model).uncounted == ("mixer",)
    assert skipped(model) == {"mixer": "no recipe for Mixer"}


def test_one_entry_makes_a_new_kind_of_layer_known_to_all_of_it(monkeypatch):
    entry = LayerTraits(Mixer, Mixing(), size="width", macs=INPUT)
    monkeypatch.setitem(TRAITS, "Mixer", entry)
    monkeypatch.setitem(inherited_traits.__globals__["_BY_CLASS"], Mixer, entry)
    model = model_of(Mixer(6, name="mixer"))
    found = channels(model)
    assert len(found.removable) == 8 + 6
    assert cost(model).macs == 5 * 8 + 8 * 6 + 6 * 3
    assert set(nisp(found)) == set(found.removable.tolist())
    last = found.given["mixer"][-1]
    model.get_layer("mixer").kernel.assign(np.asarray(model.get_layer("mixer").kernel) * ([1] * 5 + [0]))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    smaller = remove_channels(model, [last])
    assert smaller.get_layer("mixer").width == 5
    np.testing.assert_allclose(smaller(x), model(x), atol=1e-5)
    assert cost(prune_channels(model, 0.7, least=2)).macs <= 0.7 * cost(model).macs
