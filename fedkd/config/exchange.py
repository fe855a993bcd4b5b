"""The section of a configuration that says what crosses the network."""

from dataclasses import dataclass

from fedkd.base.errors import require

# What an update may be reduced to, see ``fedkd.exchange.compressors``.
COMPRESSORS = ("svd", "dense", "topk", "powersgd", "sketch")

# Parts of a model that may stay with each client, see ``fedkd.models.personal``.
PERSONAL = ("lora_b", "head", "norms")

# Bits of a number that is sent: 32 are float32, fewer are whole multiples of a step.
BITS = (32, 16, 8, 4, 2)


@dataclass(frozen=True)
class ExchangeConfig:
    """What crosses the network, and how it is averaged.

    ``transforms`` changes updates before they are encoded: names, separated by spaces, of ``fedkd.exchange.chain``.
    Count sketches go with ``up`` and ``down`` both ``sketch``: of ``sketch_rows``, with ``sketch_size`` times as many
    entries as the model; the server's has ``momentum``, and it broadcasts the ``density`` of entries it finds largest.
    ``units`` is the share of each layer's units that a round trains and sends, others in each. ``personal`` says what
    of the shared model stays with each client instead: one of ``PERSONAL``, or nothing where empty.
    """

    shared: str = "student"
    up: str = "svd"
    down: str = "svd"
    energy_start: float = 0.95
    energy_end: float = 0.98
    rank: int = 4
    density: float = 0.01
    sketch_size: float = 0.5
    sketch_rows: int = 5
    momentum: float = 0.0
    units: float = 1.0
    bits: int = 32
    rounding: str = "stochastic"
    feedback: bool = False
    deflate: bool = False
    weighting: str = "examples"
    transforms: str = ""
    personal: str = ""

    def __post_init__(self) -> None:
        """Check the rules."""
        shared = ("student", "teacher", "both", "none")
        require(self.shared in shared, "exchange.shared", self.shared, "student, teacher, both or none")
        require(self.down != "powersgd", "exchange.down", self.down, "another than powersgd, which sums what goes up")
        for key, value in (("exchange.up", self.up), ("exchange.down", self.down)):
            rule = f"one of {', '.join(COMPRESSORS)}, or package.module:function"
            require(value in COMPRESSORS or ":" in value, key, value, rule)
        require(0 < self.energy_start <= 1, "exchange.energy_start", self.energy_start, "in (0, 1]")
        require(0 < self.energy_end <= 1, "exchange.energy_end", self.energy_end, "in (0, 1]")
        require(self.rank >= 1, "exchange.rank", self.rank, "at least 1")
        require(0 < self.density <= 1, "exchange.density", self.density, "in (0, 1] (share of the entries)")
        self._check_sketch()
        require(0 < self.units <= 1, "exchange.units", self.units, "in (0, 1] (share of each layer's units)")
        whole = self.sketches or self.up == "powersgd"
        rule = f"1 with {self.up}, which needs the whole update in each round"
        require(self.units == 1 or not whole, "exchange.units", self.units, rule)
        require(self.bits in BITS, "exchange.bits", self.bits, f"one of {', '.join(map(str, BITS))}")
        ways = ("stochastic", "nearest")
        require(self.rounding in ways, "exchange.rounding", self.rounding, "stochastic or nearest")
        kinds = ("examples", "uniform")
        known = self.personal in ("", *PERSONAL)
        require(known, "exchange.personal", self.personal, f"one of {', '.join(PERSONAL)}, or empty (nothing)")
        require(self.weighting in kinds, "exchange.weighting", self.weighting, "examples or uniform")

    def _check_sketch(self) -> None:
        alike = (self.up == "sketch") == (self.down == "sketch")
        rule = "sketch where exchange.up is, and nowhere else: what is broadcast is found in the mean sketch"
        require(alike, "exchange.down", self.down, rule)
        require(0 < self.sketch_size <= 1, "exchange.sketch_size", self.sketch_size, "in (0, 1] (share of the entries)")
        require(self.sketch_rows >= 1, "exchange.sketch_rows", self.sketch_rows, "at least 1")
        require(0 <= self.momentum < 1, "exchange.momentum", self.momentum, "in [0, 1)")
        rule = "0 where updates aren't sketched (exchange.up)"
        require(self.sketches or not self.momentum, "exchange.momentum", self.momentum, rule)
        rule = "false with sketches, whose error feedback is a sketch that the server keeps"
        require(not (self.sketches and self.feedback), "exchange.feedback", self.feedback, rule)

    @property
    def sketches(self) -> bool:
        """Whether clients send count sketches."""
        return self.up == self.down == "sketch"
