"""The energy threshold rises over the rounds (Wu et al. 2022, eq. 9)."""


def progress(round_: int, rounds: int) -> float:
    """Position t of a round in the run: 0 in the first, 1 in the last (and beyond, in finishing rounds)."""
    return min((round_ - 1) / (rounds - 1), 1.0) if rounds > 1 else 0.0


def energy(round_: int, rounds: int, start: float = 0.95, end: float = 0.98) -> float:
    """Energy threshold T(t) = start + (end - start) t.

    Args:
        round_: From 1.
        rounds: Total number of rounds.
        start: Threshold of the first round, in (0, 1].
        end: Threshold of the last round, in (0, 1].

    Reference:
        Wu et al. 2022, eq. 9.

    Examples:
        >>> [round(energy(r, 4, 0.95, 0.98), 2) for r in (1, 2, 3, 4)]
        [0.95, 0.96, 0.97, 0.98]
    """
    return start + (end - start) * progress(round_, rounds)
