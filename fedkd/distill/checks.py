"""Whether two models return what the configured kinds of knowledge compare; their symbolic outputs are enough."""

from fedkd.base.errors import InputError
from fedkd.config.sections import LossConfig
from fedkd.distill.alignment import spatial_pairs
from fedkd.models.inspect import Outputs

_COMPARED = {
    "attention_transfer": "hidden",
    "distance": "hidden",
    "angle": "hidden",
    "attention_relation": "attention",
    "value_relation": "values",
}
_WORDS = {"hidden": "hidden states", "attention": "attention maps", "values": "value vectors"}


def check_knowledge(teacher: Outputs, student: Outputs, config: LossConfig) -> None:
    """Refuse kinds of knowledge that the models can't give each other.

    Raises:
        InputError: Naming the key and what the models lack.
    """
    for key, weight in config.knowledge.items():
        lack = _missing(_COMPARED[key], teacher, student)
        if not lack and key == "attention_transfer":
            lack = _other_positions(teacher, student)
        if not lack and _COMPARED[key] != "hidden":
            lack = _other_steps(_COMPARED[key], teacher, student)
        if lack:
            raise InputError(f"loss.{key} must be 0 for these models, got {weight:g}: {lack}")


def _missing(name: str, teacher: Outputs, student: Outputs) -> str:
    for role, outputs in (("teacher", teacher), ("student", student)):
        if not getattr(outputs, name):
            return f"the {role} returns no {_WORDS[name]} (key {name!r} of its output)"
    return ""


def _other_positions(teacher: Outputs, student: Outputs) -> str:
    pairs = spatial_pairs(teacher, student)
    for left, right in pairs:
        if left.shape[1:-1] != right.shape[1:-1]:
            return f"matched hidden states must differ in features only, got {left.shape[1:]} and {right.shape[1:]}"
    return "" if pairs else "their hidden states have no positions, shape (n, ..., features)"


def _other_steps(name: str, teacher: Outputs, student: Outputs) -> str:
    left, right = getattr(teacher, name)[-1].shape[2], getattr(student, name)[-1].shape[2]
    maps = [outputs.attention[-1] for outputs in (teacher, student) if name == "attention"]
    if any(each.shape[2] != each.shape[3] for each in maps):
        return "their maps are of several texts, each of which attends to itself alone"
    return "" if left == right else f"the last {_WORDS[name]} must have the same steps, got {left} and {right}"
