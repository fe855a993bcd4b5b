"""FedKD as the paper's equations say, in plain numpy, against one round of the real thing."""

import keras
import numpy as np
from keras import layers

from fedkd.data.dataset import Dataset
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from fedkd.tasks.task import Task

RATE, ENERGY, STEPS = 0.3, 0.6, 2
KERNEL, BIAS, LAST, LAST_BIAS = range(4)


def examples(count, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 5)).astype(np.float32)
    return Dataset(x, (x[:, 0] > x[:, 1]).astype(np.int32) + (x[:, 2] > 1))


def network(width):
    inputs = keras.Input((5,))
    hidden = layers.Dense(width, activation="tanh")(inputs)
    return keras.Model(inputs, {"logits": layers.Dense(3)(hidden), "hidden": [hidden]})


def task():
    names = ("a", "b", "c")
    return Task("oracle", names, examples(60, 0), examples(20, 1), lambda: network(9), lambda: network(6))


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def forward(w, x):
    hidden = np.tanh(x @ w[KERNEL] + w[BIAS])
    return hidden, softmax(hidden @ w[LAST] + w[LAST_BIAS])


def backward(w, x, hidden, d_logits, d_hidden):
    d_hidden = (d_hidden + d_logits @ w[LAST].T) * (1 - hidden**2)
    return [x.T @ d_hidden, d_hidden.sum(0), hidden.T @ d_logits, d_logits.sum(0)]


def local_steps(teacher, student, w_h, x, y):
    """Eqs 1-7: full-batch gradient descent on L_t and L_s, each with the peer and D as constants."""
    n, truth = len(y), np.eye(3)[y]
    for _ in range(STEPS):
        h_t, y_t = forward(teacher, x)
        h_s, y_s = forward(student, x)
        d = -(truth * np.log(y_t)).sum(1).mean() - (truth * np.log(y_s)).sum(1).mean() + 1e-8
        gap = 2 * (h_t - h_s @ w_h) / h_t.size
        # d CE / d logits = y - truth; d KL(peer || own) / d logits = own - peer.
        slopes_t = backward(teacher, x, h_t, (y_t - truth + (y_t - y_s) / d) / n, gap / d)
        slopes_s = backward(student, x, h_s, (y_s - truth + (y_s - y_t) / d) / n, -gap @ w_h.T / d)
        w_h = w_h + RATE * h_s.T @ gap / d
        teacher = [w - RATE * g for w, g in zip(teacher, slopes_t, strict=True)]
        student = [w - RATE * g for w, g in zip(student, slopes_s, strict=True)]
    return teacher, student, w_h


def compressed(update):
    """Eqs 8-9 on one tensor: the smallest K with more than T of the energy, where that is fewer numbers."""
    if update.ndim < 2:
        return update
    u, sigma, vt = np.linalg.svd(update, full_matrices=False)
    k = int(np.argmax(np.cumsum(sigma**2) > ENERGY * np.sum(sigma**2))) + 1
    return (u[:, :k] * sigma[:k]) @ vt[:k] if k * sum(update.shape) < update.size else update


def oracle_round(student, clients):
    """Algorithm 1: returns the next student and the clients' teachers and projections."""
    uploads, kept = [], []
    for teacher, w_h, x, y in clients:
        teacher, after, w_h = local_steps(teacher, student, w_h, x, y)
        uploads.append([compressed(a - b) for a, b in zip(after, student, strict=True)])
        kept.append((teacher, w_h))
    sizes = [len(y) for *_, y in clients]
    mean = [np.average(each, axis=0, weights=sizes) for each in zip(*uploads, strict=True)]
    return [s + compressed(m) for s, m in zip(student, mean, strict=True)], kept


def test_a_round_of_fedkd_is_what_the_equations_say():
    settings = {"task": "tests.protocol.test_oracle:task", "clients": 3, "rounds": 1, "train.optimizer": "sgd"}
    settings |= {"train.teacher_lr": RATE, "train.student_lr": RATE, "train.batch_size": 100, "train.epochs": STEPS}
    settings |= {"exchange.energy_start": ENERGY, "exchange.energy_end": ENERGY, "train.holdout": 0.0}
    settings |= {"partition.kind": "dirichlet", "partition.alpha": 1.0}
    experiment = resolve(settings)
    federation, inputs = Federation(experiment), []
    for i in range(3):
        local, (data, _) = federation.clients[i].local, experiment.client_data(i)
        inputs.append((local["teacher"], local["projection"][0], data.x, data.y))
    federation.round([0, 1, 2])
    ends = [federation.clients[i].local for i in range(3)]
    assert len(set(federation.weights)) > 1  # the weights of the mean matter
    student, kept = oracle_round(federation.server.base, inputs)
    for got, expected in zip(federation.server.shared, student, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    for state, (teacher, w_h) in zip(ends, kept, strict=True):
        for got, expected in zip(state["teacher"] + state["projection"], [*teacher, w_h], strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)
