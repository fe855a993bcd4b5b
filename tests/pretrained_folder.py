"""A small Hugging Face folder of random weights, and what a model of it computes, by numpy alone."""

import json
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file
from scipy.special import erf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["what", "who", "where", "is", "are", "the", "a", "of", "name", "city", "man", "river", "long", "tall", "many"]
WORDS += ["people", "war", "first", "year", "color"]
MARKS = {
    "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    "distilbert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
}
LAYERS, WIDTH, HEADS, INNER, POSITIONS = 3, 16, 2, 24, 40


class Names(NamedTuple):
    """What a family calls things."""

    layer: str
    parts: list[str]
    config: dict[str, object]


NAMES = {
    "bert": Names(
        "encoder.layer.{}.",
        [
            *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
            *("attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"),
        ],
        {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": INNER}
        | {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2, "pad_token_id": 0},
    ),
    "distilbert": Names(
        "transformer.layer.{}.",
        [
            *("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
            *("sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"),
        ],
        {"n_layers": LAYERS, "dim": WIDTH, "n_heads": HEADS, "hidden_dim": INNER, "activation": "gelu"}
        | {"pad_token_id": 0},
    ),
}
_BERT = NAMES["bert"]
NAMES["roberta"] = Names(
    _BERT.layer, _BERT.parts, _BERT.config | {"pad_token_id": 1, "layer_norm_eps": 1e-5, "type_vocab_size": 1}
)


def vocabulary(kind):
    return {word: i for i, word in enumerate(MARKS[kind] + WORDS)}


def weights(kind, seed=0):
    """Named as in a file of the body of a model of a task, so that they begin with the family's name."""
    rng, names = np.random.default_rng(seed), NAMES[kind]
    rows = POSITIONS + (2 if kind == "roberta" else 0)
    found = {
        "embeddings.word_embeddings.weight": rng.normal(0, 0.5, (len(vocabulary(kind)), WIDTH)),
        "embeddings.position_embeddings.weight": rng.normal(0, 0.5, (rows, WIDTH)),
    }
    if kind != "distilbert":
        kinds = 1 if kind == "roberta" else 2
        found["embeddings.token_type_embeddings.weight"] = rng.normal(0, 0.5, (kinds, WIDTH))

    def norm(name):
        found[f"{name}.weight"], found[f"{name}.bias"] = rng.normal(1, 0.2, WIDTH), rng.normal(0, 0.2, WIDTH)

    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        for part in names.parts:
            name = names.layer.format(i) + part
            if "norm" in part.lower():
                norm(name)
                continue
            inner = part in (names.parts[5], names.parts[6])
            shape = (WIDTH, WIDTH) if not inner else (INNER, WIDTH) if part == names.parts[5] else (WIDTH, INNER)
            found[f"{name}.weight"], found[f"{name}.bias"] = rng.normal(0, 0.4, shape), rng.normal(0, 0.1, shape[0])
    return {f"{kind}.{name}": array.astype(np.float32) for name, array in found.items()}


def write(folder, kind="bert", **config):
    """Write config.json, model.safetensors and tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    held = NAMES[kind].config | {"model_type": kind, "vocab_size": len(vocabulary(kind))}
    rows = POSITIONS + (2 if kind == "roberta" else 0)
    (folder / "config.json").write_text(json.dumps(held | {"max_position_embeddings": rows} | config))
    save_file(weights(kind), folder / "model.safetensors")
    begin, end = (MARKS[kind][2], MARKS[kind][3]) if kind != "roberta" else ("<s>", "</s>")
    unknown, ids = "<unk>" if kind == "roberta" else "[UNK]", vocabulary(kind)
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    marks = [(begin, ids[begin]), (end, ids[end])]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin} $A {end}", special_tokens=marks)
    tokenizer.enable_padding(length=30)  # as some folders have it: not what a task asks for
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def hidden_states(kind, ids):
    """Hidden state of each layer of rows of ids, float64 (n, steps, width), by the definition of the family."""
    w = {name.partition(".")[2]: array.astype(np.float64) for name, array in weights(kind).items()}
    names, epsilon = NAMES[kind], NAMES[kind].config.get("layer_norm_eps", 1e-12)
    padding, steps = NAMES[kind].config["pad_token_id"], ids.shape[1]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * w[f"{name}.weight"] + w[f"{name}.bias"]
        )

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    first = 2 if kind == "roberta" else 0
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][first : first + steps]
    if kind != "distilbert":
        x = x + w["embeddings.token_type_embeddings.weight"][0]
    x, states = norm(x, "embeddings.LayerNorm"), []
    for i in range(LAYERS):
        query, key, value, out, norm0, dense0, dense1, norm1 = (names.layer.format(i) + part for part in names.parts)
        q, k, v = (dense(x, part).reshape(*ids.shape, HEADS, -1) for part in (query, key, value))
        scores = np.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(WIDTH / HEADS)
        scores = np.where((ids != padding)[:, None, None, :], scores, -np.inf)
        maps = np.exp(scores - scores.max(-1, keepdims=True))
        maps /= maps.sum(-1, keepdims=True)
        mixed = np.einsum("nhqk,nkhd->nqhd", maps, v).reshape(*ids.shape, WIDTH)
        x = norm(x + dense(mixed, out), norm0)
        inner = dense(x, dense0)
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        x = norm(x + dense(inner, dense1), norm1)
        states.append(x)
    return states
