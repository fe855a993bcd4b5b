"""Sizes of the models of an experiment."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from fedkd.protocol.kinds import teaches
from fedkd.protocol.local import models_of
from fedkd.protocol.rules import ROLES

if TYPE_CHECKING:
    import keras

    from fedkd.protocol.experiment import Experiment


def counted(experiment: "Experiment", parameters: "Callable[[keras.Model], int]") -> dict[str, int]:
    """Count something of the teacher, the mean over clients that have one, and of the student, trained or not.

    Args:
        experiment: Whose models.
        parameters: Counts it.
    """
    found = {role: parameters(experiment.model(role)) for role in ROLES}
    if "teacher" not in experiment.roles:
        return found
    kinds = map(experiment.kind, range(experiment.config.clients))
    count = Counter(kind for kind in kinds if teaches(experiment.config, kind))
    sizes = {kind: parameters(models_of(experiment, kind)["teacher"]) for kind in count}
    total = sum(sizes[kind] * clients for kind, clients in count.items())
    return found | ({"teacher": round(total / count.total())} if count else {})
