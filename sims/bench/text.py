"""The work ``text`` of ``fedkd bench engine``: FedKD with a BERT-like teacher of six layers and a student of two.

Four clients with 160 texts of 32 word pieces, Adam, all of FedKD's losses, dense updates, so that engines end alike.
The weights are random ones of MiniLM's sizes, in a Hugging Face folder that is made for it, or those of a folder given.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from fedkd.base.encoder import CONFIG, WEIGHTS
from fedkd.config.config import Scalar

CLIENTS, BATCHES, BATCH, STEPS, CLASSES = 4, 10, 16, 32, 6
EXAMPLES = BATCHES * BATCH
TOLERANCE = 1e-3  # Adam makes a step of a learning rate's size of a gradient near 0, whatever its sign
_TEST, _SHORTEST = 64, 8
_LAYERS = {"teacher": 6, "student": 2}
_WORDS, _WIDTH, _HEADS, _INNER = 30_522, 384, 12, 1536
_MARKS = 1000  # ids below it are marks of BERT's own; 0 is padding


def write(folder: Path, pretrained: Path | None, frozen: bool = False, hidden: bool = True) -> dict[str, Scalar]:
    """Write the work into a folder.

    Args:
        folder: Which.
        pretrained: The Hugging Face folder of an encoder with six layers or more; one is made where None.
        frozen: Whether the tables of words and positions stay as they are.
        hidden: Whether with the hidden loss, in which older builds count padding.

    Returns:
        Settings of a run on it.
    """
    np.savez(folder / "texts.npz", **_texts(np.random.default_rng(0)))  # type: ignore[arg-type]
    if pretrained is None:
        pretrained = folder / "encoder"
        _write_encoder(pretrained, np.random.default_rng(1))
    return {
        "method": "fedkd",
        "task": f"npz:{folder / 'texts.npz'}",
        "model.pretrained": str(pretrained.absolute()),
        **{f"model.{role}_layers": layers for role, layers in _LAYERS.items()},
        **({"model.freeze": "embedding"} if frozen else {}),
        "clients": CLIENTS,
        "loss.hidden": hidden,
        "train.epochs": 1,
        "train.batch_size": BATCH,
        "train.teacher_lr": 1e-4,
        "train.student_lr": 1e-4,
        "train.holdout": 0.0,
        "exchange.up": "dense",
        "exchange.down": "dense",
        "edge.sparsity": 0.0,
        "edge.calibration": 1,
        "edge.precisions": "none",
        "edge.words": "all",  # what builds do that have no such setting
    }


def client_mflop() -> float:
    """Million floating-point operations of one client's layers in a round, for words: forward, and twice that back.

    >>> round(client_mflop())
    275566
    """
    layers, words = sum(_LAYERS.values()), EXAMPLES * (_SHORTEST + STEPS) / 2
    dense = 4 * _WIDTH**2 + 2 * _WIDTH * _INNER
    attention = 2 * STEPS * _WIDTH
    return 2 * 3 * layers * words * (dense + attention) / 1e6


def _texts(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Texts of 8 to 32 pieces, as frequent as words are (Zipf), of whose first piece the class can be told."""
    ranks = np.arange(1, _WORDS - _MARKS + 1)
    shares = 1 / ranks / (1 / ranks).sum()
    arrays: dict[str, np.ndarray] = {"classes": np.array([f"class {i}" for i in range(CLASSES)])}
    for split, count in (("train", CLIENTS * EXAMPLES + 1), ("test", _TEST)):
        x = _MARKS + rng.choice(len(ranks), (count, STEPS), p=shares)
        arrays[f"y_{split}"] = x[:, 0] % CLASSES
        arrays[f"x_{split}"] = np.where(np.arange(STEPS) < rng.integers(_SHORTEST, STEPS + 1, (count, 1)), x, 0)
    return arrays


def _write_encoder(folder: Path, rng: np.random.Generator) -> None:
    def normal(*shape: int) -> np.ndarray:
        return np.float32(0.02) * rng.standard_normal(shape, np.float32)

    arrays = {
        "embeddings.word_embeddings.weight": normal(_WORDS, _WIDTH),
        "embeddings.position_embeddings.weight": normal(512, _WIDTH),
        "embeddings.token_type_embeddings.weight": normal(2, _WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for i in range(_LAYERS["teacher"]):
        begin = f"encoder.layer.{i}."
        shapes = dict.fromkeys((f"attention.self.{part}" for part in ("query", "key", "value")), (_WIDTH, _WIDTH))
        shapes |= {"attention.output.dense": (_WIDTH, _WIDTH), "intermediate.dense": (_INNER, _WIDTH)}
        for name, shape in (shapes | {"output.dense": (_WIDTH, _INNER)}).items():
            arrays |= {f"{begin}{name}.weight": normal(*shape), f"{begin}{name}.bias": normal(shape[0])}
        norms += [f"{begin}attention.output.LayerNorm", f"{begin}output.LayerNorm"]
    for name in norms:
        arrays |= {f"{name}.weight": 1 + normal(_WIDTH), f"{name}.bias": normal(_WIDTH)}
    folder.mkdir()
    save_file(arrays, folder / WEIGHTS)
    config = {"model_type": "bert", "num_hidden_layers": _LAYERS["teacher"], "hidden_size": _WIDTH}
    config |= {"num_attention_heads": _HEADS, "intermediate_size": _INNER, "hidden_act": "gelu", "vocab_size": _WORDS}
    config |= {"max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0}
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
