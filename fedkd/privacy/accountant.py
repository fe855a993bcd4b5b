"""What noise is worth: the epsilon of so many rounds, by Google's ``dp-accounting`` (extra ``privacy``).

Where a round asks all clients, neighbours are runs in which one client's updates are what they are, or zeros: each mean
moves by the clip bound over the number of clients, and rounds add up exactly (Balle & Wang, ICML 2018). Where a round
asks a fixed number of them, drawn without replacement, neighbours are runs in which one client is another one, whose
updates may be the opposite: twice the bound. Which clients a round asks is then part of what hides them (Wang, Balle &
Kasiviswanathan, AISTATS 2019, theorem 27); where they are nearly all, that theorem gives more than if everybody knew
them, and the less of the two counts.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fedkd.base.errors import InputError

# Of Rényi divergences: each gives a bound, of which the least counts, and takes some milliseconds.
_ORDERS = (1.25, 1.5, 1.75, *range(2, 41), 48, 64, 96, 128, 256)


@dataclass(frozen=True)
class Accountant:
    """Epsilon of rounds in which clients' updates of bounded norm are averaged with Gaussian noise.

    Args:
        clients: All of them.
        participants: How many a round asks.
        delta: In (0, 1).
    """

    clients: int
    participants: int
    delta: float

    @property
    def samples(self) -> bool:
        """Whether a round asks only some clients, whom chance draws."""
        return self.participants < self.clients

    @property
    def neighbours(self) -> str:
        """What two runs differ in that can't be told apart, in words."""
        return "one client is another" if self.samples else "one client's updates are zeros"

    def epsilon(self, multiplier: float, rounds: int) -> float:
        """Return what rounds have spent.

        Args:
            multiplier: Standard deviation of the noise on the sum of updates, as a multiple of the clip bound; above 0.
            rounds: Number of them, 0 or more.

        Raises:
            InputError: ``dp-accounting`` isn't installed.
        """
        if not rounds:
            return 0.0
        known = float(_library().get_epsilon_gaussian(multiplier / self._bounds / rounds**0.5, self.delta))
        return min(known, self._hidden(multiplier, rounds)) if self.samples else known

    def multiplier(self, epsilon: float, rounds: int) -> float:
        """Return how much noise lets rounds spend so much, see ``epsilon``."""
        library = _library()
        known = float(library.get_sigma_gaussian(epsilon, self.delta)) * self._bounds * rounds**0.5
        if not self.samples or self._hidden(known, rounds) >= epsilon:
            return known

        def event(multiplier: float) -> object:
            return library.SelfComposedDpEvent(self._event(multiplier), rounds)

        least = known / 2
        while self._hidden(least, rounds) <= epsilon:
            least /= 2
        # From 0, where it begins by itself, the library would divide by zero.
        bracket = library.ExplicitBracketInterval(least, known)
        close = 1e-4 * known  # on the side that spends less
        return float(library.calibrate_dp_mechanism(self._fresh, event, epsilon, self.delta, bracket, tol=close))

    @property
    def _bounds(self) -> int:
        """By how many clip bounds a sum differs between neighbours."""
        return 2 if self.samples else 1

    def _hidden(self, multiplier: float, rounds: int) -> float:
        """Epsilon where nobody knows which clients were drawn."""
        return float(self._fresh().compose(self._event(multiplier), rounds).get_epsilon(self.delta))

    def _event(self, multiplier: float) -> object:
        """A round: the library's Rényi accountant takes noise as a multiple of the sum's sensitivity, two bounds."""
        library = _library()
        noise = library.GaussianDpEvent(multiplier / self._bounds)
        return library.SampledWithoutReplacementDpEvent(self.clients, self.participants, noise)

    def _fresh(self) -> Any:
        library = _library()
        return library.rdp.RdpAccountant(_ORDERS, library.NeighboringRelation.REPLACE_ONE)


def _library() -> ModuleType:
    try:
        import dp_accounting
    except ImportError:
        raise InputError("privacy.epsilon needs dp-accounting: pip install 'fedkd[privacy]'") from None
    library: ModuleType = dp_accounting
    return library
