"""A method is a configuration: every baseline and ablation is a preset of one pipeline."""

from dataclasses import dataclass

from fedkd.config import Scalar
from fedkd.errors import InputError


@dataclass(frozen=True)
class Method:
    """A preset: one line for people, where it comes from, and the settings it fixes unless the user sets them."""

    name: str
    summary: str
    citation: str
    settings: dict[str, Scalar]


_FEDKD = "Wu et al., Nature Communications 13:2032, 2022"
_FEDAVG = "McMahan et al., AISTATS 2017"
_DENSE: dict[str, Scalar] = {"exchange.svd_up": False, "exchange.svd_down": False}

_ALL = (
    Method("fedkd", "adaptive mutual distillation, SVD-compressed student updates both ways", _FEDKD, {}),
    Method(
        "fedavg_teacher",
        "plain averaging of the teacher, dense updates",
        _FEDAVG,
        {"train.models": "teacher", "exchange.shared": "teacher", **_DENSE},
    ),
    Method(
        "fedavg_student",
        "plain averaging of the student, dense updates, no teacher",
        _FEDAVG,
        {"train.models": "student", **_DENSE},
    ),
    Method(
        "fedmutual",
        "mutual KL without adaptive weight, hidden loss or SVD (FML)",
        "Shen et al., arXiv:2006.16765, 2020",
        {"loss.adaptive": False, "loss.hidden": False, **_DENSE},
    ),
    Method("no_mutual", "FedKD without the distillation terms (eqs 1-2)", _FEDKD, {"loss.mutual": False}),
    Method("no_adaptive", "FedKD without the confidence weight 1/D", _FEDKD, {"loss.adaptive": False}),
    Method("no_hidden", "FedKD without hidden loss (eqs 3-4)", _FEDKD, {"loss.hidden": False}),
    Method("no_svd_up", "FedKD with dense updates from the clients", _FEDKD, {"exchange.svd_up": False}),
    Method("no_svd_down", "FedKD with a dense update from the server", _FEDKD, {"exchange.svd_down": False}),
    Method(
        "static_energy",
        "FedKD with one energy threshold for all rounds",
        _FEDKD,
        {"exchange.energy_start": 0.95, "exchange.energy_end": 0.95},
    ),
    Method(
        "undetached",
        "FedKD whose gradient flows through D and the peer (published code)",
        _FEDKD,
        {"loss.undetached": True},
    ),
)

METHODS = {method.name: method for method in _ALL}


def method(name: str) -> Method:
    """Return a method by its name.

    Raises:
        InputError: Unknown name; the known ones are listed.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
