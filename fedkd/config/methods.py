"""A method is a configuration: every baseline and ablation is a preset of one pipeline."""

from dataclasses import dataclass, field

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar


@dataclass(frozen=True)
class Method:
    """A preset.

    Args:
        name: As in ``--method``.
        summary: One line for people.
        citation: Where it comes from.
        settings: What it sets unless the user sets it.
        fixed: What it sets whatever the user sets, without which it wouldn't be this method.
    """

    name: str
    summary: str
    citation: str
    settings: dict[str, Scalar]
    fixed: dict[str, Scalar] = field(default_factory=dict)


_FEDKD = "Wu et al., Nature Communications 13:2032, 2022"
_FEDAVG = "McMahan et al., AISTATS 2017"
_DENSE: dict[str, Scalar] = {"exchange.up": "dense", "exchange.down": "dense"}
_TEACHER: dict[str, Scalar] = {"train.models": "teacher", "exchange.shared": "teacher"}
# Nobody but the clients has a whole model.
_OWN: dict[str, Scalar] = {"train.evaluate_every": 1, "edge.sparsity": 0.0, "edge.precisions": "none"}
_ALONE: dict[str, Scalar] = {"train.models": "teacher", "exchange.shared": "none", **_OWN}
_PERSONAL: dict[str, Scalar] = {**_TEACHER, **_DENSE, **_OWN}
_LORA: dict[str, Scalar] = {"model.teacher_lora": 8, "train.teacher_lr": 1e-3}

_FEW_BITS: dict[str, Scalar] = {
    "exchange.feedback": True,
    "exchange.bits": 2,
    "exchange.rounding": "nearest",
    "exchange.deflate": True,
}
_PLUS: dict[str, Scalar] = {**_FEW_BITS, "exchange.energy_start": 0.5, "exchange.energy_end": 0.8}
_BOTH: dict[str, Scalar] = {"exchange.shared": "both", "exchange.energy_start": 0.8, "exchange.energy_end": 0.95}

_ALL = (
    Method("fedkd", "adaptive mutual distillation, SVD-compressed student updates both ways", _FEDKD, {}),
    Method(
        "fedavg_teacher",
        "plain averaging of the teacher, dense updates",
        _FEDAVG,
        {**_TEACHER, **_DENSE},
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
    Method(
        "fedkd_plus",
        "FedKD with error feedback, 2-bit factors and a far lower energy threshold",
        "this project; error feedback: Karimireddy et al., ICML 2019; quantization: Alistarh et al., NeurIPS 2017",
        _PLUS,
    ),
    Method(
        "fedavg_student_plus",
        "FedAvg of the student with fedkd_plus's codec: what the codec brings where no teacher teaches",
        f"{_FEDAVG}; codec: see fedkd_plus",
        {"train.models": "student", **_PLUS},
    ),
    Method(
        "fedavg_teacher_plus",
        "FedAvg of the teacher with fedkd_plus's codec: the larger model, where its bytes are affordable",
        f"{_FEDAVG}; codec: see fedkd_plus",
        {**_TEACHER, **_PLUS},
    ),
    Method(
        "fedkd_public",
        "FedKD whose models also teach each other on examples without labels: those that partition.examples leaves out",
        f"this project; {_FEDKD}",
        {"train.unlabelled": "rest"},
    ),
    Method(
        "fedkd_both",
        "FedKD whose clients share the teacher too, both models as fedkd_plus sends the student, with more energy",
        f"this project; {_FEDKD}",
        {**_FEW_BITS, **_BOTH},
    ),
    Method(
        "fedkd_two_stage",
        "first the teacher as fedkd_both sends it, then students that learn from it, with examples that"
        " partition.examples leaves out",
        f"this project; {_FEDKD}",
        {**_FEW_BITS, **_BOTH, "train.teacher_share": 0.5, "train.unlabelled": "rest"},
    ),
    Method(
        "fedprox",
        "FedAvg of the teacher whose clients are pulled towards the round's model",
        "Li et al., MLSys 2020",
        {**_TEACHER, **_DENSE, "train.proximal": 0.01},
    ),
    Method(
        "scaffold",
        "FedAvg of the teacher by plain SGD, each gradient corrected by control variates, which cross the network too",
        "Karimireddy et al., ICML 2020",
        {**_TEACHER, **_DENSE, "train.control_variates": True, "train.optimizer": "sgd", "train.teacher_lr": 0.1},
    ),
    Method(
        "fedpaq",
        "FedAvg of the teacher with updates rounded stochastically to 8 bits (16: exchange.bits)",
        "Reisizadeh et al., AISTATS 2020",
        {**_TEACHER, **_DENSE, "exchange.bits": 8},
    ),
    Method(
        "powersgd",
        "FedAvg of the teacher, updates in shared low-rank directions with error feedback",
        "Vogels et al., NeurIPS 2019",
        {**_TEACHER, "exchange.up": "powersgd", "exchange.energy_start": 0.99, "exchange.energy_end": 0.99}
        | {"exchange.feedback": True},
    ),
    Method(
        "topk",
        "FedAvg of the teacher, the largest hundredth of an update's entries with error feedback",
        "Aji & Heafield, EMNLP 2017; Stich et al., NeurIPS 2018",
        {**_TEACHER, "exchange.up": "topk", "exchange.down": "topk", "exchange.feedback": True},
    ),
    Method(
        "fetchsgd",
        "FedAvg of the teacher, count sketches of updates up, their heavy hitters down (momentum: exchange.momentum)",
        "Rothchild et al., ICML 2020",
        {**_TEACHER, "exchange.up": "sketch", "exchange.down": "sketch", "exchange.deflate": True},
    ),
    Method(
        "feddropout",
        "FedAvg of the teacher whose clients train and send three quarters of each layer's units, others in each round",
        "Caldas et al., arXiv:1812.07210, 2018",
        {**_TEACHER, **_DENSE, "exchange.units": 0.75},
    ),
    Method(
        "fedlora",
        "FedAvg of low-rank adapters in the teacher, and of its head; all else of it stays as it was built",
        "Hu et al., ICLR 2022; averaged as by Zhang et al., ICASSP 2024",
        {**_TEACHER, **_DENSE, **_LORA},
    ),
    Method(
        "ffa_lora",
        "fedlora whose adapters have their first matrix from the seed for good (FFA-LoRA): half the bytes, a mean of"
        " adapters is that of their products",
        "Sun et al., ICLR 2024",
        {**_TEACHER, **_DENSE, **_LORA, "model.lora_freeze_a": True},
    ),
    Method(
        "fedsa_lora",
        "fedlora whose adapters have their second matrix stay with each client (FedSA-LoRA), which so has a model of"
        " its own",
        "Guo et al., ICLR 2025",
        {**_PERSONAL, **_LORA, "exchange.personal": "lora_b"},
    ),
    Method(
        "fedper",
        "FedAvg of the teacher but for its head, which stays with each client",
        "Arivazhagan et al., arXiv:1912.00818, 2019",
        {**_PERSONAL, "exchange.personal": "head"},
    ),
    Method(
        "fedbn",
        "FedAvg of the teacher but for its normalization layers, which stay with each client",
        "Li et al., ICLR 2021",
        {**_PERSONAL, "exchange.personal": "norms"},
    ),
    Method(
        "local",
        "each client's teacher on its own data; nothing is shared",
        f"first row of tables 2 and 3 in {_FEDKD}",
        _ALONE,
    ),
    Method(
        "central",
        "one teacher on the pooled data: the upper bound",
        f"second row of tables 2 and 3 in {_FEDKD}",
        _ALONE,
        fixed={"clients": 1, "partition.kind": "iid"},
    ),
    Method("no_mutual", "FedKD without the distillation terms (eqs 1-2)", _FEDKD, {"loss.mutual": False}),
    Method("no_adaptive", "FedKD without the confidence weight 1/D", _FEDKD, {"loss.adaptive": False}),
    Method("no_hidden", "FedKD without hidden loss (eqs 3-4)", _FEDKD, {"loss.hidden": False}),
    Method("no_svd_up", "FedKD with dense updates from the clients", _FEDKD, {"exchange.up": "dense"}),
    Method("no_svd_down", "FedKD with a dense update from the server", _FEDKD, {"exchange.down": "dense"}),
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
