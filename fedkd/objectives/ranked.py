"""Figures of lists of candidates that scores put in an order, of which some were clicked."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class RankedLists:
    """Candidates of some lists with their scores; a list's figures are as MIND's evaluation defines them.

    Candidates with one score share their places: a figure is the mean over all orders that they may be in, as
    scikit-learn has it, and doesn't hang on the order of the file.

    Args:
        lists: The list that each candidate is of, int (n,), in any order.
        scores: Of each candidate, the higher the better, float (n,).
        clicked: 0 or 1 (n,).

    Reference:
        Wu et al., ACL 2020 (MIND), section 5.1.
    """

    lists: np.ndarray
    scores: np.ndarray
    clicked: np.ndarray

    @cached_property
    def _order(self) -> np.ndarray:
        return np.lexsort((-self.scores, self.lists))

    @cached_property
    def _starts(self) -> np.ndarray:
        """Where each list begins in the order."""
        return _changes(self.lists[self._order])

    @cached_property
    def _ties(self) -> np.ndarray:
        """Where each run of equal scores of a list begins in the order."""
        return np.union1d(self._starts, _changes(self.scores[self._order]))

    @cached_property
    def clicks(self) -> np.ndarray:
        """Clicked candidates of each list, int (lists,), lists in ascending order."""
        return np.add.reduceat(self.clicked[self._order].astype(np.int64), self._starts)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Candidates of each list, int (lists,)."""
        return np.diff(np.append(self._starts, len(self.lists)))

    def _gained(self, worth: np.ndarray) -> np.ndarray:
        """What the clicked candidates of each list have in all where a place, from 0, has its worth (places,)."""
        places = np.arange(len(self.lists)) - np.repeat(self._starts, self.sizes)
        runs = np.diff(np.append(self._ties, len(places)))
        shared = np.add.reduceat(worth[places], self._ties) / runs
        each = np.repeat(shared, runs) * self.clicked[self._order]
        return np.add.reduceat(each, self._starts)

    def auc(self) -> np.ndarray:
        """Share of pairs of a clicked candidate and another in which it has the higher score, float64 (lists,).

        Every list has both.

        >>> RankedLists(np.zeros(3, int), np.array([3.0, 1.0, 2.0]), np.array([0, 0, 1])).auc().tolist()
        [0.5]
        """
        ahead = self._gained(np.arange(self.sizes.max(), dtype=np.float64)) - self.clicks * (self.clicks - 1) / 2
        return 1 - ahead / (self.clicks * (self.sizes - self.clicks))

    def mrr(self) -> np.ndarray:
        """Mean of 1 / place over the clicked candidates of each list, places from 1, float64 (lists,).

        >>> RankedLists(np.zeros(3, int), np.array([3.0, 1.0, 2.0]), np.array([1, 0, 1])).mrr().tolist()
        [0.75]
        """
        return self._gained(1 / np.arange(1.0, self.sizes.max() + 1)) / self.clicks

    def ndcg(self, first: int) -> np.ndarray:
        """Discounted gain of the first places over that of the best order, float64 (lists,) (Järvelin 2002).

        Args:
            first: How many places count.

        >>> RankedLists(np.zeros(3, int), np.array([3.0, 1.0, 2.0]), np.array([0, 0, 1])).ndcg(5).round(4).tolist()
        [0.6309]
        """
        places = np.arange(self.sizes.max())
        worth = np.where(places < first, 1 / np.log2(places + 2.0), 0.0)
        return self._gained(worth) / np.cumsum(worth)[self.clicks - 1]


def _changes(values: np.ndarray) -> np.ndarray:
    """Where runs of equal values begin."""
    return np.append(0, np.flatnonzero(np.diff(values)) + 1)
