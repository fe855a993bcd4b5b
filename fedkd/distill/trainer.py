"""What trains a client's models, whatever it is built on; the protocol knows no more of it than this."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fedkd.base.tensors import State, Weights
from fedkd.data.dataset import Dataset

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Trainer(Protocol):
    """Trains a teacher and a student on each other, or one of them alone.

    A client's ``State`` maps group names to lists of arrays: each role's weights, ``projection`` (W_h), and each
    group's optimiser variables as ``GROUP.moments``.
    """

    # A process that trains only once sets it to False: the same bits, and only one batch is compiled.
    unrolls: bool

    @property
    def roles(self) -> tuple[str, ...]:
        """The models that are trained: ``teacher``, ``student``, or both."""
        ...

    def initial_state(self) -> State:
        """Return the state of a client that has never trained; its arrays are everyone's, not to be changed."""
        ...

    def steps_of(self, examples: int) -> int:
        """Return how many steps training takes on so many examples."""
        ...

    def initial_moments(self, group: str) -> Weights:
        """Return a group's optimiser variables before the first step."""
        ...

    def trainable(self, role: str, values: Sequence[Any]) -> list[Any]:
        """Pick those of a model's trainable weights from a list in the order of all its weights."""
        ...

    def fit(
        self,
        state: State,
        data: Dataset,
        rng: np.random.Generator,
        rate: float = 1.0,
        masks: Mapping[str, Weights] | None = None,
        anchors: Mapping[str, Weights] | None = None,
        corrections: Mapping[str, Weights] | None = None,
    ) -> tuple[State, dict[str, float]]:
        """Train for the configured epochs.

        Args:
            state: The client's state; not changed.
            data: The client's training examples.
            rng: Draws the order of examples and the states of random layers.
            rate: Multiplies all learning rates, for their decay over the rounds.
            masks: By role, a 0/1 array for each trainable weight, which is multiplied after each step; roles that
                aren't in it are trained freely.
            anchors: By role, the trainable weights near which ``train.proximal`` keeps it (Li et al., MLSys 2020).
            corrections: By role, what is added to each gradient of its trainable weights.

        Returns:
            The state after training, and the mean loss of each role.
        """
        ...

    def logits(self, role: str, weights: Weights, x: np.ndarray, threads: int = 1) -> np.ndarray:
        """Return outputs (n, k), float32, of one model for n >= 1 inputs, whatever the number of threads."""
        ...
