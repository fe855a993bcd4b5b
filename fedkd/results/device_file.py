"""A file for devices, and what was measured of it: a row of ``summary.json``."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fedkd.base.errors import InputError
from fedkd.results.json_fields import numbers, table

_COUNTS = ("flash_bytes", "gzip_bytes", "float_tensors", "macs", "parameters", "sparsity")
_LITERT = "litert"


@dataclass(frozen=True)
class DeviceFile:
    """A TFLite file; None for what wasn't measured.

    Args:
        precision: What its numbers are, such as ``int8``.
        path: Its name in the run's folder; None where it couldn't be made.
        error: One line that says why it couldn't be made or run; None where it could.
        flash_bytes: Its size.
        gzip_bytes: Its size over the air.
        float_tensors: How many of its tensors are float32 or float16.
        macs: Multiply-accumulates of an inference.
        parameters: Numbers in the model it was made from.
        sparsity: Share of its kernels' weights that are zero.
        quality: The task's deciding metric over the test set, by runtime.
        agreement: Share of the answers that are those of the model it was made from, by runtime.
    """

    precision: str
    path: str | None = None
    error: str | None = None
    flash_bytes: int | None = None
    gzip_bytes: int | None = None
    float_tensors: int | None = None
    macs: int | None = None
    parameters: int | None = None
    sparsity: float | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    agreement: Mapping[str, float] = field(default_factory=dict)

    @property
    def made(self) -> bool:
        """Whether it could be made and run."""
        return not self.error

    @property
    def label(self) -> str:
        """As a reader names it.

        >>> DeviceFile("int8").label, DeviceFile("int8", sparsity=0.781).label
        ('int8', 'int8, 78 % sparse')
        """
        return self.precision + (f", {100 * self.sparsity:.0f} % sparse" if self.sparsity else "")

    @property
    def deciding(self) -> float | None:
        """The metric in LiteRT, which every file of a run is measured in."""
        return self.quality.get(_LITERT)

    @property
    def alike(self) -> float | None:
        """The agreement in LiteRT."""
        return self.agreement.get(_LITERT)

    def to_json(self) -> dict[str, Any]:
        """The row; of a file that couldn't be made only why."""
        row = asdict(self)
        return row if self.made else {key: row[key] for key in ("path", "precision", "error")}

    @classmethod
    def from_json(cls, row: Any, where: str = "summary.json") -> "DeviceFile":
        """Undo ``to_json``, also of older rows: they have ``bytes``, and one ``accuracy`` and ``agreement``.

        Raises:
            InputError: It is no row, or a figure is no number.
        """
        if not isinstance(row, dict):
            raise InputError(f"{where}: a device file is an object, got {str(row)[:40]!r}")
        held = {"flash_bytes": row.get("bytes"), **row}
        for key, older in (("quality", "accuracy"), ("agreement", "agreement")):
            if key not in row or not isinstance(row[key], dict):
                held[key] = {} if row.get(older) is None else {_LITERT: row[older]}
        return cls(
            precision=str(held.get("precision")),
            path=held.get("path"),
            error=held.get("error"),
            quality=numbers(table(held, "quality", where), where),
            agreement=numbers(table(held, "agreement", where), where),
            **numbers({key: held.get(key) for key in _COUNTS}, where),
        )
