"""Which classes the model that ships takes for which."""

from sklearn.metrics import confusion_matrix

from fedkd.protocol.experiment import Experiment
from fedkd.protocol.state import ServerState
from fedkd.results.confusion import Confusion
from server.device_files import shipped


def confusion_of(experiment: Experiment, state: ServerState) -> Confusion | None:
    """Hold the final shared model's answers over the test set against its classes.

    Args:
        experiment: The first round's.
        state: After the last round.

    Returns:
        None where the task isn't one of exclusive classes.
    """
    objective, test = experiment.task.objective, experiment.task.test
    if objective.kind != "classification":
        return None
    answers = objective.answers(shipped(experiment, state).outputs)
    counts = confusion_matrix(test.y, answers, labels=range(len(objective.names)))
    return Confusion(objective.names, counts.tolist())
