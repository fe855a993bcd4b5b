"""FetchSGD: clients send count sketches of their updates, and the server finds in their mean what it broadcasts.

Sketches are linear, so momentum and error feedback, which other methods keep of whole updates, are sketches too: the
server keeps both, clients keep nothing (Rothchild et al., ICML 2020, algorithm 1).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Spec, TensorSpec, Weights
from fedkd.exchange.count_sketch import CountSketch
from fedkd.exchange.transforms import Context, Sent, Transform


@dataclass(frozen=True)
class Sketching:
    """How the tensors of a model become one table; statistics stay beside it as they are.

    Args:
        seed: Of the hashes, which are the same in all rounds and on all machines.
        rows: Of the table.
        size: Entries of the table as a share of the model's.
    """

    seed: int
    rows: int
    size: float

    def of(self, spec: Spec) -> CountSketch:
        """Return the sketch of a model's updates."""
        keys = generator(self.seed, Purpose.SKETCH).integers(2**63, size=self.rows, dtype=np.uint64)
        return CountSketch(keys, max(1, math.ceil(self.size * _length(spec) / self.rows)))

    def spec(self, spec: Spec) -> Spec:
        """Return what clients send: the table, and the statistics."""
        return (TensorSpec("sketch", self.of(spec).shape, 1, kernel=False), *(s for s in spec if s.statistic))

    def table(self, update: Weights, spec: Spec) -> np.ndarray:
        """Return the sketch of an update, float32 (rows, columns)."""
        flat = [array.ravel() for array, item in zip(update, spec, strict=True) if not item.statistic]
        return self.of(spec).table(np.concatenate([np.empty(0, np.float32), *flat]))

    def estimates(self, table: np.ndarray, spec: Spec) -> np.ndarray:
        """Return what a table says of all entries but those of statistics, float32 (n,)."""
        return self.of(spec).estimates(table, _length(spec))


@dataclass(frozen=True)
class Sketched(Transform):
    """A client's part: the sketch of its update is what it sends. It is the last transform.

    Args:
        sketching: The same on both sides.
    """

    sketching: Sketching

    group = "transform.sketch"

    def apply(self, update: Weights, state: Weights, context: Context) -> tuple[Weights, Weights]:
        """Return the table, and the statistics."""
        rest = [array for array, item in zip(update, context.spec, strict=True) if item.statistic]
        return [self.sketching.table(update, context.spec), *rest], state

    def sends(self, spec: Spec) -> Spec:
        """Return what the table and the statistics look like."""
        return self.sketching.spec(spec)


@dataclass(frozen=True)
class HeavyHitters(Transform):
    """The server's part, before all other transforms: of the mean sketch it makes the update that is broadcast.

    It keeps two tables: S_u = momentum S_u + mean, and S_e = S_e + S_u, from which what receivers decode of the
    broadcast is taken. So what isn't sent, whatever leaves it out, is sent later.

    Args:
        sketching: The same on both sides.
        momentum: In [0, 1).
        density: Share of the entries that is broadcast, those of the largest estimates.

    Reference:
        Rothchild et al., ICML 2020, algorithm 1, with clients that train for a round and so send what their learning
        rate has scaled already: η = 1.
    """

    sketching: Sketching
    momentum: float
    density: float

    group = "sketch"

    def initial(self, spec: Spec) -> Weights:
        """Return two tables of zeros."""
        return [np.zeros(self.sketching.of(spec).shape, np.float32) for _ in range(2)]

    def apply(self, update: Weights, state: Weights, context: Context) -> tuple[Weights, Weights]:
        """Take the mean sketch in; the update holds the largest estimates of weights that aren't pruned, and zeros."""
        mean, *rest = update
        velocity = np.float32(self.momentum) * state[0] + mean
        error, spec = state[1] + velocity, context.spec
        found = self.sketching.estimates(error, spec)
        if context.kept is not None:
            pairs = zip(context.kept, spec, strict=True)
            found *= np.concatenate([kept.ravel() for kept, item in pairs if not item.statistic])
        found *= _largest(np.abs(found), math.ceil(self.density * len(found)))
        return _tensors(found, iter(rest), spec), [velocity, error]

    def sent(self, sent: Sent, state: Weights) -> Weights:
        """Return both tables, the second without what receivers decode."""
        velocity, error = state
        return [velocity, error - self.sketching.table(sent.payload.tensors, sent.spec)]


def _length(spec: Spec) -> int:
    return sum(item.size for item in spec if not item.statistic)


def _largest(sizes: np.ndarray, count: int) -> np.ndarray:
    """Which numbers are the largest, bool (n,); the first of equal ones, so that they are ``count`` where none is 0."""
    if not len(sizes):
        return np.empty(0, bool)
    least = np.partition(sizes, -count)[-count]
    found: np.ndarray = sizes > least
    equal = np.flatnonzero(sizes == least)[: count - np.count_nonzero(found)]
    found[equal] = True
    return found


def _tensors(flat: np.ndarray, statistics: Iterator[np.ndarray], spec: Spec) -> Weights:
    """Cut a flat update into the model's tensors."""
    tensors, first = [], 0
    for item in spec:
        if item.statistic:
            tensors.append(next(statistics))
        else:
            tensors.append(flat[first : first + item.size].reshape(item.shape))
            first += item.size
    return tensors
