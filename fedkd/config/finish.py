"""How ``--finish`` says what finishing rounds do: "prune channels 50%, qat int8"."""

import re

from fedkd.base.errors import InputError
from fedkd.config.config import Config, Scalar

_PRUNE = re.compile(r"prune (channels|weights) (\d+(?:\.\d+)?) ?%")
_KEYS = {"channels": "edge.channels", "weights": "edge.sparsity"}


def parse_finish(text: str) -> dict[str, Scalar]:
    """Turn steps with commas between them into settings; what isn't named is off.

    Args:
        text: ``none``, or some of ``prune channels N%`` (of the multiplications), ``prune weights N%``, ``qat int8``.

    Raises:
        InputError: A step is another one, or named twice.

    >>> parse_finish("prune channels 50%, qat int8")
    {'edge.sparsity': 0.0, 'edge.channels': 0.5, 'edge.qat': True}
    """
    steps = [" ".join(part.lower().split()) for part in text.split(",")]
    settings: dict[str, Scalar] = {"edge.sparsity": 0.0, "edge.channels": 0.0, "edge.qat": False}
    if steps == ["none"]:
        return settings
    given = [_setting(step) for step in steps]
    if len({key for key, _ in given}) < len(given):
        raise InputError(f"--finish must name each step once, got {text!r}")
    return settings | dict(given)


def finish_in_words(config: Config) -> str:
    """What finishing rounds do, as ``parse_finish`` takes it."""
    edge = config.edge
    pruned = (("channels", edge.channels), ("weights", edge.sparsity))
    steps = [f"prune {what} {100 * share:g}%" for what, share in pruned if share]
    return ", ".join(steps + (["qat int8"] if edge.qat else [])) or "none"


def rounds_in_words(config: Config) -> str:
    """How many rounds a run has, finishing rounds included.

    >>> rounds_in_words(Config(rounds=3))
    '6 rounds: 3 of training, then 3 finishing rounds (prune weights 50%)'
    """
    last = config.total_rounds - config.rounds
    if not last:
        return f"{config.rounds} rounds of training, no finishing rounds"
    finishing = f"{last} finishing round{'s' if last > 1 else ''} ({finish_in_words(config)})"
    return f"{config.total_rounds} rounds: {config.rounds} of training, then {finishing}"


def _setting(step: str) -> tuple[str, Scalar]:
    if step == "qat int8":
        return "edge.qat", True
    if (found := _PRUNE.fullmatch(step)) and 0 < float(found[2]) < 100:
        return _KEYS[found[1]], float(found[2]) / 100
    raise InputError(
        "--finish takes 'prune channels N%', 'prune weights N%' (N above 0 and below 100) and 'qat int8' with commas"
        f" between them, or 'none', got {step!r}"
    )
