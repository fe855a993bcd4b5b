"""The section of a configuration that says which models are trained."""

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from fedkd.base.errors import require

_VOCABULARY = 4000


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the built-in models, where 0 leaves the choice to the task, and what both models start from.

    ``vocabulary`` is how many words they tell apart, 0 for 4000 where that leaves few words unknown.
    ``pretrained`` is a Hugging Face folder of a BERT-like encoder, for tasks of texts: the teacher is its first
    ``teacher_layers`` layers, 0 for all, the student its first ``student_layers``, 0 for two. ``freeze`` says which of
    its parts stay as they are in both: ``embedding``, ``embedding+N`` with the first N layers, or none where empty.
    ``teacher_weights`` and ``student_weights`` are files of Keras weights for every client's teacher and for the first
    student; empty for those of the seed.
    ``teacher_lora`` and ``student_lora`` are the rank r of low-rank adapters beside that model's kernels, 0 for none:
    with them all else of the model but its head stays as it is. Their products count ``lora_alpha`` / r;
    ``lora_freeze_a`` has the first of their two matrices stay as it is, too.
    """

    teacher_width: int = 0
    student_width: int = 0
    vocabulary: int = 0
    teacher_weights: str = ""
    student_weights: str = ""
    student_init: str = "random"
    pretrained: str = ""
    teacher_layers: int = 0
    student_layers: int = 0
    freeze: str = ""
    teacher_lora: int = 0
    student_lora: int = 0
    lora_alpha: float = 16.0
    lora_freeze_a: bool = False

    def __post_init__(self) -> None:
        """Check the rules."""
        require(self.teacher_width >= 0, "model.teacher_width", self.teacher_width, "0 (the task's choice) or more")
        require(self.student_width >= 0, "model.student_width", self.student_width, "0 (the task's choice) or more")
        rule = "0 (4000), or at least 2 (padding and unknown)"
        require(self.vocabulary == 0 or self.vocabulary >= 2, "model.vocabulary", self.vocabulary, rule)
        ends = (".weights.h5", ".keras")
        files = {"model.teacher_weights": self.teacher_weights, "model.student_weights": self.student_weights}
        for key, file in files.items():
            require(not file or file.endswith(ends), key, file, "a .weights.h5 or .keras file")
        ways = ("random", "teacher_layers")
        require(self.student_init in ways, "model.student_init", self.student_init, "random or teacher_layers")
        self._check_pretrained()
        self._check_lora()
        one = self.student_init == "random" or not self.student_weights
        require(one, "model.student_init", self.student_init, "random where model.student_weights names a file")

    def _check_pretrained(self) -> None:
        for key, value in (("teacher_layers", self.teacher_layers), ("student_layers", self.student_layers)):
            least = "0 (all)" if key == "teacher_layers" else "0 (two)"
            require(value >= 0, f"model.{key}", value, f"{least} or more")
            require(value == 0 or bool(self.pretrained), f"model.{key}", value, "0 without model.pretrained")
        parts = re.fullmatch(r"embedding(\+[1-9]\d{0,3})?", self.freeze)
        rule = "embedding, embedding+N (and the first N layers), or empty (nothing)"
        require(not self.freeze or parts is not None, "model.freeze", self.freeze, rule)
        require(not self.freeze or bool(self.pretrained), "model.freeze", self.freeze, "empty without model.pretrained")
        held = {
            "teacher_width": self.teacher_width,
            "student_width": self.student_width,
            "vocabulary": self.vocabulary,
        }
        for key, value in held.items():
            rule = "0 with model.pretrained, whose folder says it"
            require(not value or not self.pretrained, f"model.{key}", value, rule)
        rule = "random with model.pretrained, whose first layers the student has anyway"
        began = self.student_init == "random" or not self.pretrained
        require(began, "model.student_init", self.student_init, rule)

    def _check_lora(self) -> None:
        for role in ("teacher", "student"):
            rank = self.lora_rank(role)
            require(rank >= 0, f"model.{role}_lora", rank, "0 (no adapters), or their rank, 1 or more")
        require(0 < self.lora_alpha < math.inf, "model.lora_alpha", self.lora_alpha, "above 0")
        some = bool(self.teacher_lora or self.student_lora)
        rule = "false without adapters (model.teacher_lora, model.student_lora)"
        require(some or not self.lora_freeze_a, "model.lora_freeze_a", self.lora_freeze_a, rule)

    def lora_rank(self, role: str) -> int:
        """Rank of the adapters of the ``teacher`` or the ``student``, 0 for none."""
        return {"teacher": self.teacher_lora, "student": self.student_lora}.get(role, 0)

    def without_lora(self, role: str) -> "ModelConfig":
        """Return the same with a model of that role that has no adapters."""
        ranks: dict[str, Any] = {f"{role}_lora": 0}
        other = self.lora_rank("student" if role == "teacher" else "teacher")
        return replace(self, lora_freeze_a=self.lora_freeze_a and other > 0, **ranks)

    @property
    def frozen_layers(self) -> int | None:
        """How many of the pretrained layers stay as they are, with the tables below them; None where nothing does."""
        return int(self.freeze.partition("+")[2] or 0) if self.freeze else None

    @property
    def words(self) -> int:
        """Size of the vocabulary, with padding and unknown."""
        return self.vocabulary or _VOCABULARY
