"""How a server keeps what a run promises its clients: noise, whom chance asks, and which figures it takes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fedkd.base.seeding import Purpose, generator
from fedkd.config.sections import GuardConfig
from fedkd.privacy.noise import Noise, of_system
from fedkd.protocol.experiment import Experiment
from fedkd.results.round import Round

_OF_SYSTEM, _OF_SEED = "the operating system", "the run's seed"
_NOT_TOLD = "not told under privacy.epsilon"
# Figures of clients that any server sees: of their messages, and of time.
_OF_MESSAGES = ("up_bytes", "down_bytes", "seconds", "peak_bytes")


class Keeper:
    """Keeps a run's promise; where there is none it changes nothing.

    Args:
        experiment: Of the first round.
        simulated: Whether all clients' data is here: then noise is the seed's, so that a run can be repeated.

    Raises:
        InputError: The promise can't be kept.
    """

    def __init__(self, experiment: Experiment, simulated: bool) -> None:
        self._config, self._promise, self._simulated = experiment.config, experiment.promise, simulated

    @property
    def guard(self) -> GuardConfig:
        """What the server refuses: under a promise no update for what the others are like, as that tells of these."""
        guard = self._config.guard
        return replace(guard, spread=0.0) if self._promise else guard

    def chance(self, round_: int) -> np.random.Generator:
        """What draws the clients of a round: under a promise nobody but the server may know whom."""
        if self.withholds:
            return np.random.default_rng()
        return generator(self._config.seed, Purpose.SAMPLING, round_)

    @property
    def withholds(self) -> bool:
        """Whether what clients measure is nobody's to keep."""
        return self._promise is not None and not self._simulated

    def kept(self, figures: dict[str, float]) -> dict[str, float]:
        """Return what the server keeps of what a client measured of its models."""
        return {} if self.withholds else figures

    def noise(self, round_: int) -> Noise | None:
        """Return the noise for the mean of a round; None where nothing is promised."""
        if self._promise is None:
            return None
        of_seed = generator(self._config.seed, Purpose.NOISE, round_).standard_normal
        return self._promise.noise(of_seed if self._simulated else of_system)

    def told(self, ended: Round) -> Round:
        """Return what the history says of a round: what it has spent, and, but in simulations, no client's figures.

        Means over clients of what they measure have no noise; ranks, norms, and why an update was refused are of single
        ones.
        """
        if self._promise is None:
            return ended
        ended = replace(ended, epsilon=self._promise.spent(ended.number))
        if not self.withholds:
            return ended
        known = {name: row for name, row in ended.clients.items() if name in _OF_MESSAGES}
        shared = ended.shared if self._config.ships else dict.fromkeys(ended.shared)
        refused = [{**entry, "why": _NOT_TOLD} for entry in ended.refused]
        for entry in refused:
            entry.pop("norm", None)
        ended = replace(ended, clients=known, shared=shared, loss={}, norms={}, ranks={}, by_class={}, refused=refused)
        return replace(ended, teacher_mean=None, teacher_std=None, teacher_personal=None, teacher_others={})

    def record(self, round_: int) -> Mapping[str, float | str]:
        """Return what ``summary.json`` says of the promise after so many rounds; empty where there is none."""
        if (promise := self._promise) is None:
            return {}
        return {
            "epsilon": promise.spent(round_),
            "delta": promise.accountant.delta,
            "clip": promise.clip,
            "noise_multiplier": promise.multiplier,
            "neighbours": promise.accountant.neighbours,
            "noise": _OF_SEED if self._simulated else _OF_SYSTEM,
        }
