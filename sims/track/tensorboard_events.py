"""The run's figures as TensorBoard's events in its folder: ``tensorboard/``."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedkd.results.device_file import DeviceFile
from fedkd.results.round import Round
from sims.track.figures import client_figures, file_figures, round_figures
from sims.track.tracker import Settings

_SUFFIX = ".fedkd"  # of our files, beside which others may lie


class TensorBoardEvents:
    """Scalars by round, clients' as ``client_FIGURE/ID``, files' as ``file_FIGURE/PRECISION``; settings as hparams."""

    needs = "tensorboard"

    def begin(self, folder: Path, settings: Settings, before: Sequence[Round]) -> None:
        """Write the events anew: what TensorBoard's format has no way to take back can't be in them twice."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        events = folder / "tensorboard"
        for file in events.glob(f"*{_SUFFIX}"):
            file.unlink()
        self._writer, self._last = EventFileWriter(str(events), filename_suffix=_SUFFIX), 0
        # Rounds of before happened when they did.
        self._began = time.time() - ((before[-1].elapsed or 0.0) if before else 0.0)
        self._write(hparams_pb(dict(settings)), 0, self._began)
        for row in before:
            self.add(row)

    def add(self, row: Round) -> None:
        """Write a round's scalars."""
        clients = client_figures(row)
        width = len(str(max(clients, default=0)))
        figures = round_figures(row) | {
            f"client_{name}/{client:0{width}}": value
            for client, held in clients.items()
            for name, value in held.items()
        }
        self._last = row.number
        self._scalars(figures, row.number, self._began + (row.elapsed or 0.0))

    def finish(self, files: Sequence[DeviceFile]) -> None:
        """Write the files' scalars at the last round."""
        made = {file.precision: file_figures(file) for file in files if file.made}
        figures = {f"file_{name}/{kind}": value for kind, held in made.items() for name, value in held.items()}
        self._scalars(figures, self._last, time.time())

    def close(self) -> None:
        """Close the file of events."""
        self._writer.close()

    def _scalars(self, figures: Mapping[str, float], step: int, when: float) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._write(Summary(value=values), step, when)
        self._writer.flush()

    def _write(self, summary: object, step: int, when: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=when, step=step, summary=summary))
