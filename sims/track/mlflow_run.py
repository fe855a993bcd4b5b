"""The run's figures as a run of MLflow, where ``MLFLOW_TRACKING_URI`` says, else where MLflow does by itself."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file
from fedkd.results.device_file import DeviceFile
from fedkd.results.round import Round
from sims.track.figures import client_figures, file_figures, round_figures
from sims.track.tracker import Settings

# Read by MLflow when it is imported or asked: no usage statistics, and seconds, not minutes, for a server that is away.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_MOST = 1000  # metrics that MLflow takes at once
_ROUND = "round"


class MlflowRun:
    """Params are settings, metrics are figures by round; those of clients are ``client_FIGURE/ID``.

    Its run's id is in ``mlflow_run_id`` in the folder, by which it goes on. MLflow never takes back what it has: where
    a run goes on from an earlier round than it knows, it gets another run, and the first the tag ``fedkd.replaced_by``.

    Raises:
        InputError: MLflow's store can't be reached.
    """

    needs = "mlflow"

    def __init__(self) -> None:
        for key, value in _QUIET.items():
            os.environ.setdefault(key, value)
        from mlflow import MlflowClient, get_tracking_uri

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "fedkd")
        try:
            self._client = MlflowClient()
            found = self._client.get_experiment_by_name(name)
            self._experiment = found.experiment_id if found else self._client.create_experiment(name)
        except Exception as error:  # of MLflow, of a database, or of a connection
            said = str(error).split("\n", 1)[0][:300]
            raise InputError(
                f"--track mlflow: MLFLOW_TRACKING_URI {get_tracking_uri()} can't be used: {said}"
            ) from None

    def begin(self, folder: Path, settings: Settings, before: Sequence[Round]) -> None:
        """Go on with the run of MLflow that the folder names, or begin one, and log the rounds that it lacks."""
        last = before[-1].number if before else 0
        run, named = None, folder / "mlflow_run_id"
        if named.is_file():
            run = self._known(named.read_text(encoding="utf-8").strip())
        if run is None or self._logged(run) > last:
            new = self._client.create_run(self._experiment, run_name=folder.name)
            if run is not None:
                self._client.set_tag(run.info.run_id, "fedkd.replaced_by", new.info.run_id)
            replace_file(named, f"{new.info.run_id}\n".encode())
            run = new
        self._id, self._last, logged = run.info.run_id, last, self._logged(run)
        self._client.update_run(self._id, status="RUNNING")
        for key, value in settings.items():
            known = run.data.params.get(key)
            if run.data.tags.get(f"now.{key}", known) != str(value):
                self._setting(key, str(value), known is not None)
        for row in before[logged:]:
            self.add(row)

    def add(self, row: Round) -> None:
        """Log a round's figures."""
        figures = round_figures(row) | {
            f"client_{name}/{client}": value
            for client, held in client_figures(row).items()
            for name, value in held.items()
        }
        self._last = row.number
        self._log(figures | {_ROUND: row.number})  # last: what has it is whole

    def finish(self, files: Sequence[DeviceFile]) -> None:
        """Log the files' figures, and that the run has finished."""
        figures = {
            f"file_{name}/{file.precision}": value for file in files for name, value in file_figures(file).items()
        }
        known = self._client.get_run(self._id).data.metrics
        self._log({name: value for name, value in figures.items() if known.get(name) != value})
        self._client.set_terminated(self._id, "FINISHED")

    def close(self) -> None:
        """Say that the run was stopped, unless it has finished."""
        if self._client.get_run(self._id).info.status == "RUNNING":
            self._client.set_terminated(self._id, "KILLED")

    def _setting(self, key: str, value: str, known: bool) -> None:
        """Log a setting; one that has changed, such as ``rounds``, can't be as a param a second time."""
        if known:
            self._client.set_tag(self._id, f"now.{key}", value)
        else:
            self._client.log_param(self._id, key, value)

    def _known(self, run_id: str) -> Any:
        """The run of MLflow with this id, None where there is none (any more, or in this store)."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _logged(self, run: Any) -> int:
        return int(run.data.metrics.get(_ROUND, 0))

    def _log(self, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, self._last) for name, value in figures.items()]
        for start in range(0, len(metrics), _MOST):
            self._client.log_batch(self._id, metrics=metrics[start : start + _MOST])
