"""What a run promises its clients: the section ``privacy`` of a configuration."""

from dataclasses import dataclass

from fedkd.base.errors import require

# Within these epsilon means something, and its noise is a number.
_LEAST, _MOST = 1e-3, 10_000


@dataclass(frozen=True)
class PrivacyConfig:
    """Differential privacy of each client: whatever its examples are, the models of all rounds tell little of them.

    ``epsilon`` is what all rounds together may spend, at ``delta``; 0 promises nothing. Each update is scaled down to
    an L2 norm of ``clip``, and the server adds noise to the mean, as much as that takes.
    """

    epsilon: float = 0.0
    delta: float = 1e-5
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Check the rules."""
        rule = f"0 (no promise), or from {_LEAST:g} to {_MOST:,}"
        require(self.epsilon == 0 or _LEAST <= self.epsilon <= _MOST, "privacy.epsilon", self.epsilon, rule)
        require(0 < self.delta < 1, "privacy.delta", self.delta, "in (0, 1), below one in all there are clients")
        rule = f"above 0 and at most {_MOST:,} (L2 norm of an update)"
        require(0 < self.clip <= _MOST, "privacy.clip", self.clip, rule)

    @property
    def promised(self) -> bool:
        """Whether there is a promise to keep."""
        return self.epsilon > 0
