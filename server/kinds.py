"""Which kind each client of a run is of, and what is known of its classes of devices."""

from collections.abc import Mapping, Sequence

import numpy as np

from fedkd.protocol.experiment import Experiment
from fedkd.protocol.messages import PERSONAL, SECONDS, SHARED_PERSONAL, Answer, teacher_key
from fedkd.results.class_figures import ClassFigures


class Kinds:
    """The kinds of a run's clients: what their nodes say they are comes before what the experiment deals them.

    Args:
        experiment: Of the first round.
        said: Class of devices by partition, of the nodes that have said one.
    """

    def __init__(self, experiment: Experiment, said: Mapping[int, str]) -> None:
        self._experiment, self._said = experiment, dict(said)

    @property
    def said(self) -> dict[int, str]:
        """Class of devices by partition, of the nodes that have said one."""
        return dict(self._said)

    def note(self, said: Mapping[int, str]) -> None:
        """Remember what nodes say they are, by partition; empty where one says nothing."""
        self._said = {partition: name for partition, name in {**self._said, **said}.items() if name}

    def of(self, partition: int) -> str:
        """Return the kind of a client."""
        return self._said.get(partition) or self._experiment.kind(partition)

    def classes(self, participants: Sequence[int]) -> list[str]:
        """Return the class of devices of each of some clients, empty for none; nothing where there are no classes."""
        return [self.of(partition) for partition in participants] if self._experiment.config.classes else []

    def figures(
        self, answers: Sequence[Answer], measured: Mapping[int, Mapping[str, float]]
    ) -> dict[str, ClassFigures]:
        """Return what is known of each class of devices, by its name; empty where there are none.

        Args:
            answers: Those of a round.
            measured: What clients measured last of their models, by partition; empty where this was no round for it.
        """
        config = self._experiment.config
        if not config.classes:
            return {}
        members: dict[str, list[int]] = {name: [] for name in ["", *(held.name for held in config.classes)]}
        for partition in range(config.clients):
            members[self.of(partition)].append(partition)
        took_part = {answer.partition: answer.metrics for answer in answers}
        deciding = teacher_key(self._experiment.metrics[0].name)
        return {
            name: ClassFigures(
                len(clients),
                _mean(measured, clients, deciding),
                _mean(measured, clients, PERSONAL),
                _mean(measured, clients, SHARED_PERSONAL),
                _mean(took_part, clients, SECONDS),
            )
            for name, clients in members.items()
            if name or clients
        }


def _mean(reported: Mapping[int, Mapping[str, float]], clients: Sequence[int], figure: str) -> float | None:
    """Mean of a figure over those of some clients that reported it, None where none did."""
    found = (reported.get(client, {}).get(figure) for client in clients)
    values = [value for value in found if value is not None]
    return float(np.mean(values)) if values else None
