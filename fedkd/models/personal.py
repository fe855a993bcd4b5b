"""Which tensors of a model may stay with each client while the others are shared."""

import keras
from keras import layers

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import all_layers
from fedkd.models.adapters import adapters_of
from fedkd.models.inspect import head, unfrozen
from fedkd.models.transformer import IntegerFriendlyNorm

_NORMS = (
    IntegerFriendlyNorm,
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
)


def personal_places(model: keras.Model, part: str) -> frozenset[int]:
    """Return the places of a model's personal tensors among those that training may change.

    Args:
        model: With its adapters, if any.
        part: ``lora_b`` for the second matrix of each adapter, ``head`` for the layer that makes the logits, ``norms``
            for scales, offsets and statistics of batch, group, layer and RMS normalization.

    Raises:
        InputError: It has none of these, or nothing else.

    Reference:
        Guo et al., ICLR 2025 (FedSA-LoRA); Arivazhagan et al., arXiv:1912.00818, 2019 (FedPer); Li et al., ICLR 2021
        (FedBN).
    """
    if part == "lora_b":
        stay = [adapter.b.values for adapter in adapters_of(model)]
    elif part == "head":
        stay = head(model).weights
    else:
        stay = [weight for layer in all_layers(model) if isinstance(layer, _NORMS) for weight in layer.weights]
    ids, moving = {id(weight) for weight in stay}, unfrozen(model)
    places = frozenset(place for place, weight in enumerate(moving) if id(weight) in ids)
    if not places or len(places) == len(moving):
        why = "nothing else is trained, so nothing would be shared" if places else "none of them is trained"
        raise InputError(f"exchange.personal must be empty with {model.name}, got {part!r}: {why}")
    return places
