"""FedKD of BERT-like models by hand: transformers' BERT in torch, one process, all cores, no messages and no files.

The models of all clients stay in memory, each with its Adam. Texts, batches, weights and losses are those of the work.
"""

# mypy: disable-error-code="import-not-found"

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel
from work_file import cores, paths, save

EPSILON, DECAYS = 1e-7, (0.9, 0.999)


class Seen(NamedTuple):
    """What a model says of a batch."""

    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]
    attention: tuple[torch.Tensor, ...]


class Network(nn.Module):
    """The first layers of an encoder and a head on the mean of what is left of the words."""

    def __init__(self, arrays: list[np.ndarray], heads: int, epsilon: float, padding: int) -> None:
        super().__init__()
        (words, width), (steps, _) = arrays[0].shape, arrays[1].shape
        config = BertConfig(
            vocab_size=words,
            max_position_embeddings=steps,
            hidden_size=width,
            num_hidden_layers=(len(arrays) - 6) // 16,
            num_attention_heads=heads,
            intermediate_size=arrays[14].shape[1],
            layer_norm_eps=epsilon,
            pad_token_id=None,  # its row is trained as all others are
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attn_implementation="eager",  # the one that returns attention maps
        )
        self.padding, self.body = padding, BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(width, arrays[-1].shape[0])
        kinds = self.body.embeddings.token_type_embeddings.weight
        kinds.requires_grad_(False).zero_()  # the work has that of the first sentence in its positions
        self.take(arrays)

    def parameters_in_order(self) -> Iterator[torch.Tensor]:
        """Parameters in the order of the work's arrays."""
        table = self.body.embeddings
        yield from (table.word_embeddings.weight, table.position_embeddings.weight, *table.LayerNorm.parameters())
        for layer in self.body.encoder.layer:
            attention = layer.attention
            for part in (attention.self.query, attention.self.key, attention.self.value, attention.output.dense):
                yield from part.parameters()
            for part in (
                attention.output.LayerNorm,
                layer.intermediate.dense,
                layer.output.dense,
                layer.output.LayerNorm,
            ):
                yield from part.parameters()
        yield from self.head.parameters()

    def take(self, arrays: list[np.ndarray]) -> None:
        """Take weights in Keras' layout."""
        with torch.no_grad():
            for number, (parameter, array) in enumerate(zip(self.parameters_in_order(), arrays, strict=True)):
                matrix = array if number < 2 else array.reshape(parameter.shape[::-1]).T  # tables lie alike in both
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(matrix)))

    def given(self, like: list[np.ndarray]) -> list[np.ndarray]:
        """Return weights in Keras' layout."""
        found = [parameter.detach().numpy() for parameter in self.parameters_in_order()]
        turned = (array if number < 2 else array.T for number, array in enumerate(found))
        return [array.reshape(own.shape) for array, own in zip(turned, like, strict=True)]

    def forward(self, ids: torch.Tensor) -> Seen:
        """See a batch of ids (n, steps)."""
        real = (ids != self.padding).float()
        out = self.body(ids, real, output_hidden_states=True, output_attentions=True)
        mean = (out.last_hidden_state * real[..., None]).sum(1) / (real.sum(1, keepdim=True) + 1e-6)
        return Seen(self.head(mean), out.hidden_states[1:], out.attentions)


class Client:
    """A client's teacher, student and projections, with the optimiser of all."""

    def __init__(self, file: np.lib.npyio.NpzFile) -> None:
        sizes = int(file["heads"]), float(file["epsilon"]), int(file["padding"])
        self.teacher, self.student = (Network(read(file, role), *sizes) for role in ("teacher", "student"))
        if bool(file["frozen"]):
            for network in (self.teacher, self.student):
                network.body.embeddings.requires_grad_(False)
        self.projection = [torch.from_numpy(array).requires_grad_() for array in read(file, "projection")]
        every = [*self.teacher.parameters(), *self.student.parameters(), *self.projection]
        trained = [parameter for parameter in every if parameter.requires_grad]
        self.adam = torch.optim.Adam(trained, float(file["learning_rate"]), DECAYS, EPSILON, fused=True)
        self.steps = 0

    def step(self, ids: torch.Tensor, labels: torch.Tensor) -> None:
        """One batch: the total of both models, each a constant for the other."""
        teacher, student = self.teacher(ids), self.student(ids)
        tasks = [functional.cross_entropy(seen.logits, labels) for seen in (teacher, student)]
        d = (tasks[0] + tasks[1] + 1e-8).detach()
        still_t, still_s = (
            Seen(s.logits.detach(), detached(s.hidden), detached(s.attention)) for s in (teacher, student)
        )
        total = tasks[0] + tasks[1]
        total = total + (kl(still_s.logits, teacher.logits) + kl(still_t.logits, student.logits)) / d
        constants = [w.detach() for w in self.projection]
        if self.projection:
            real = (ids != self.teacher.padding).float()
            away = apart(teacher, still_s, constants, real) + apart(still_t, student, self.projection, real)
            total = total + away / d
        self.adam.zero_grad()
        total.backward()
        self.steps += 1
        # Keras adds epsilon before the second moment is divided by its share.
        self.adam.param_groups[0]["eps"] = EPSILON / (1 - DECAYS[1] ** self.steps) ** 0.5
        self.adam.step()


def detached(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The same, as constants."""
    return tuple(tensor.detach() for tensor in tensors)


def kl(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL from the peer's distribution, the mean over the batch."""
    logs = [functional.log_softmax(each, -1) for each in (logits, target)]
    return functional.kl_div(*logs, reduction="batchmean", log_target=True)


def apart(teacher: Seen, student: Seen, projection: list[torch.Tensor], real: torch.Tensor) -> torch.Tensor:
    """How far matched hidden states of words, by their projections, and their attention maps are apart."""
    pairs, every = len(projection), len(teacher.hidden) // len(projection)
    chosen = [(j + 1) * every - 1 for j in range(pairs)]
    rows, queries = real[:, :, None], real[:, None, :, None]
    states = [
        functional.mse_loss(teacher.hidden[t] * rows, student.hidden[j] @ projection[j] * rows)
        for j, t in enumerate(chosen)
    ]
    maps = [
        functional.mse_loss(teacher.attention[t] * queries, student.attention[j] * queries)
        for j, t in enumerate(chosen)
    ]
    return torch.stack(states + maps).sum()


def read(file: np.lib.npyio.NpzFile, group: str) -> list[np.ndarray]:
    """Arrays of a group, in order."""
    count = sum(name.startswith(f"{group}_") for name in file.files)
    return [file[f"{group}_{i}"] for i in range(count)]


def run(path: str) -> tuple[list[float], list[np.ndarray]]:
    """Train; returns the clock at the start and after each round, and the last weights of the student."""
    with np.load(path, allow_pickle=False) as file:
        x, y, rows = torch.from_numpy(file["x"]).long(), torch.from_numpy(file["y"]).long(), file["rows"]
        shared = read(file, "student")
        clients = [Client(file) for _ in range(len(x))]
    stamps = [time.perf_counter()]
    for orders in rows:
        ends = []
        for number, client in enumerate(clients):
            client.student.take(shared)
            for batch in torch.from_numpy(orders[number]).long():
                client.step(x[number, batch], y[number, batch])
            ends.append(client.student.given(shared))
        shared = [np.mean(arrays, 0) for arrays in zip(*ends, strict=True)]
        stamps.append(time.perf_counter())
    return stamps, shared


if __name__ == "__main__":
    torch.set_num_threads(cores())
    work_path, result_path = paths()
    save(result_path, *run(work_path))
