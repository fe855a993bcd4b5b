"""What a run promises its clients under differential privacy, and what of that its rounds have spent."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.exchange.basis import shared_bases
from fedkd.privacy.accountant import Accountant
from fedkd.privacy.noise import Noise, Normals, coordinates

if TYPE_CHECKING:
    from fedkd.protocol.experiment import Experiment


@dataclass(frozen=True)
class Promise:
    """Noise that keeps a run within its epsilon.

    Args:
        accountant: Of its rounds.
        epsilon: What all of them may spend.
        rounds: How many they are.
        clip: Bound on the L2 norm of an update.
        multiplier: Standard deviation of the noise on the sum of updates, as a multiple of the bound.
        coordinates: How many numbers the noise of a round goes to, in the stage where they are most; the mean of two
            rounds where their directions differ.
    """

    accountant: Accountant
    epsilon: float
    rounds: int
    clip: float
    multiplier: float
    coordinates: int

    def noise(self, normals: Normals) -> Noise:
        """Return the noise for the mean of a round."""
        participants = self.accountant.participants
        return Noise(self.multiplier * self.clip / participants, normals, participants)

    def spent(self, rounds: int) -> float:
        """Epsilon of the first rounds; one that failed counts as the others do."""
        return self.accountant.epsilon(self.multiplier, rounds)

    @property
    def relative_noise(self) -> float:
        """L2 norm that the noise on a round's mean has about, as a multiple of the largest that the mean can have."""
        return self.multiplier * float(self.coordinates) ** 0.5 / self.accountant.participants

    @property
    def in_words(self) -> str:
        """The promise, and its price."""
        held = self.accountant
        asked = f"{held.participants} of {held.clients}" if held.samples else f"all {held.clients}"
        return (
            f"privacy of each client: epsilon {self.epsilon:g} at delta {held.delta:g} over {self.rounds} rounds of"
            f" {asked} clients ({held.neighbours}); noise multiplier {self.multiplier:.3g}, its norm on"
            f" {self.coordinates} numbers is {self.relative_noise:.2g} x the clip bound"
        )

    @property
    def warning(self) -> str:
        """What the noise does to what is learned, and what there is to do; empty where it is small."""
        if self.relative_noise <= 1:
            return ""
        needed = math.ceil(self.relative_noise * self.accountant.participants)
        return (
            f"privacy.epsilon: the noise is {self.relative_noise:.2g} x the largest mean update, so that much of what"
            f" clients send is lost; {needed} clients a round make it as much as that, and fewer rounds, a larger"
            " epsilon or a smaller model help"
        )


def promise_of(experiment: "Experiment") -> Promise | None:
    """Return what a run promises; None where it promises nothing.

    Args:
        experiment: Of the first round.

    Raises:
        InputError: ``dp-accounting`` isn't installed, or a layer of the shared model measures its inputs: with noise
            a variance is none.
    """
    config, privacy = experiment.config, experiment.config.privacy
    if not privacy.promised:
        return None
    stages = [experiment.at(round_, ()) for round_ in dict.fromkeys((1, config.rounds, config.total_rounds))]
    if measured := [item.name for stage in stages for item in stage.spec if item.statistic]:
        raise InputError(
            f"privacy.epsilon needs a shared model in which no layer measures what it reads, got {measured[0]}:"
            " take another norm (LayerNormalization, GroupNormalization)"
        )
    accountant, rounds = Accountant(config.clients, config.participants, privacy.delta), config.total_rounds
    multiplier, numbers = accountant.multiplier(privacy.epsilon, rounds), max(map(_coordinates, stages))
    return Promise(accountant, privacy.epsilon, rounds, privacy.clip, multiplier, numbers)


def _coordinates(experiment: "Experiment") -> int:
    """The mean of two rounds: their directions are on either side of a matrix."""
    rank = experiment.coding("up", experiment.energy(1)).compressor.directions
    if not rank:
        return coordinates(experiment.spec, None)
    rng = generator(experiment.config.seed, Purpose.DIRECTIONS, 0)
    counts = [coordinates(experiment.spec, shared_bases(None, experiment.spec, r, rank, rng)) for r in (1, 2)]
    return sum(counts) // 2
