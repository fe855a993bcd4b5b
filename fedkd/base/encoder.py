"""BERT-like encoders as their Hugging Face folders describe them.

Such a folder holds ``config.json`` and ``model.safetensors``; families differ in what they call the same things.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


@dataclass(frozen=True)
class Family:
    """What encoders of a kind call their settings and their weights.

    Args:
        layers: Key of the number of layers in ``config.json``; likewise those that follow.
        width: Of a word's vector.
        heads: Of attention.
        inner: Width of the dense layer within a layer.
        activation: Behind it.
        embedding: Where names of the tables' weights begin.
        layer: Where those of a layer begin, with its number in braces.
        parts: Names within a layer: query, key, value, output of attention, its norm, both dense layers, their norm.
        behind_padding: Whether positions are counted from behind the row of padding.
        kinds: Whether there is a table of sentences' kinds.
    """

    layers: str
    width: str
    heads: str
    inner: str
    activation: str
    embedding: str
    layer: str
    parts: tuple[str, ...]
    behind_padding: bool = False
    kinds: bool = True


_BERT = Family(
    *("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "hidden_act"),
    embedding="embeddings.",
    layer="encoder.layer.{}.",
    parts=(
        *(f"attention.self.{part}" for part in ("query", "key", "value")),
        *("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense"),
        "output.LayerNorm",
    ),
)
_DISTILBERT = Family(
    *("n_layers", "dim", "n_heads", "hidden_dim", "activation"),
    embedding="embeddings.",
    layer="transformer.layer.{}.",
    parts=(
        *(f"attention.{part}_lin" for part in ("q", "k", "v", "out")),
        *("sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"),
    ),
    kinds=False,
)
_ROBERTA = replace(_BERT, behind_padding=True)
_FAMILIES = {
    "bert": _BERT,
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), _ROBERTA),
    "distilbert": _DISTILBERT,
}


@dataclass(frozen=True)
class Encoder:
    """An encoder as its folder describes it.

    Args:
        folder: Where it is.
        family: How things are called there.
        layers: How many it has.
        width: Of a word's vector.
        heads: Of attention.
        inner: Width of the dense layer within a layer.
        activation: Behind it, as Keras has it; ``gelu_tanh`` is the approximation.
        epsilon: Of its norms.
        positions: Words of the longest text.
        vocabulary: How many words it tells apart.
        padding: Id of what isn't there.
        first: Row of the first word's position in their table.
        kinds: Rows of a table of sentences' kinds, 0 without one.
    """

    folder: Path
    family: Family
    layers: int
    width: int
    heads: int
    inner: int
    activation: str
    epsilon: float
    positions: int
    vocabulary: int
    padding: int
    first: int
    kinds: int


def read_encoder(folder: Path) -> Encoder:
    """Read what an encoder is, without its weights.

    Raises:
        InputError: No such folder, or it isn't that of an encoder of a known kind.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: model.pretrained takes a Hugging Face folder with {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = str(config.get("model_type"))
        if kind not in _FAMILIES:
            raise InputError(f"{folder}: its model_type must be one of {', '.join(_FAMILIES)}, got {kind!r}")
        return _encoder(folder, _FAMILIES[kind], config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: {CONFIG} isn't that of an encoder ({type(error).__name__}: {error})") from None


def _encoder(folder: Path, family: Family, config: Mapping[str, Any]) -> Encoder:
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{folder}: its position_embedding_type must be absolute, got {config['position_embedding_type']!r}"
        )
    activation = str(config[family.activation])
    if activation not in _ACTIVATIONS:
        raise InputError(f"{folder}: its activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}")
    padding = int(config.get("pad_token_id") or 0)
    first = padding + 1 if family.behind_padding else 0
    keys = (family.layers, family.width, family.heads, family.inner, "max_position_embeddings", "vocab_size")
    sizes = {key: int(config[key]) for key in keys}
    layers, width, heads, inner, rows, vocabulary = sizes.values()
    least = dict.fromkeys(keys, 1) | {"max_position_embeddings": first + 1}
    if small := [key for key, size in sizes.items() if size < least[key]] or ["pad_token_id"] * (padding < 0):
        raise InputError(f"{folder}: {CONFIG} must give a size that can be, got {small[0]} {config.get(small[0])}")
    if width % heads:
        raise InputError(f"{folder}: {family.width} must be a multiple of {family.heads}, got {width} and {heads}")
    return Encoder(
        folder,
        family,
        layers,
        width,
        heads,
        inner,
        _ACTIVATIONS[activation],
        float(config.get("layer_norm_eps", 1e-12)),
        rows - first,
        vocabulary,
        padding,
        first,
        int(config.get("type_vocab_size", 2)) if family.kinds else 0,
    )
