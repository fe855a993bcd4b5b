"""What is known of a device file, in one vocabulary: a row of a run's summary, the start of a search's candidate."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from fedkd.results.shape import amount, named, number, optional, pair, perhaps, share, text

# The runtime in which every file is measured, and that of figures which older summaries hold without one.
_LITERT = "litert"
_SHAPE = perhaps(
    path=text,
    precision=text,
    error=text,
    flash_bytes=amount,
    gzip_bytes=amount,
    float_tensors=amount,
    tensors=amount,
    quality=named(optional(number)),
    agreement=named(optional(share)),
    interval=pair,
    macs=amount,
    parameters=amount,
    sparsity=share,
    warning=text,
)


@dataclass(frozen=True)
class DeviceFile:
    """A TFLite file, or why there is none; None for what wasn't measured.

    Args:
        precision: What it holds, see ``fedkd.config.edge.PRECISIONS``.
        path: Its name in its folder; None where it couldn't be made.
        error: One line that says why it couldn't be made or run; None where it could.
        flash_bytes: Its size.
        gzip_bytes: Its size over the air, gzip level 9.
        float_tensors: How many of its tensors are float32 or float16.
        macs: Multiply-accumulates of the model it was made of.
        parameters: Numbers in the same model.
        sparsity: Share of zeros among the weights of its kernels.
        quality: The task's deciding metric over the test examples by runtime, None where one couldn't run it; ``keras``
            is that of the model it was made of.
        agreement: Share of the answers that are those of the model it was made of, by runtime.
        interval: Confidence interval (95 %) of the quality in LiteRT.
        tensors: How many tensors it has.
        warning: One line that says why it isn't to be used: it loses more than was allowed; None where it doesn't.
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
    quality: Mapping[str, float | None] = field(default_factory=dict)
    agreement: Mapping[str, float | None] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    tensors: int | None = None
    warning: str | None = None

    @property
    def made(self) -> bool:
        """Whether it could be made and run."""
        return self.error is None

    @property
    def deciding(self) -> float | None:
        """The quality in LiteRT, in which every file is measured."""
        return self.quality.get(_LITERT)

    @property
    def alike(self) -> float | None:
        """The agreement in LiteRT."""
        return self.agreement.get(_LITERT)

    @property
    def label(self) -> str:
        """The file as a reader names it.

        >>> DeviceFile("int8", sparsity=0.78).label, DeviceFile("float16").label, DeviceFile("int8", warning="no").label
        ('int8, 78 % sparse', 'float16', 'int8, not to be used')
        """
        sparse = f", {100 * self.sparsity:.0f} % sparse" if self.sparsity else ""
        return self.precision + sparse + (", not to be used" if self.warning else "")

    def to_json(self) -> dict[str, Any]:
        """The row of a file; of one that couldn't be made, no figures."""
        if not self.made:
            return {"path": self.path, "precision": self.precision, "error": self.error}
        row = {item.name: getattr(self, item.name) for item in fields(self)}
        return row | {"interval": None if self.interval is None else list(self.interval)}

    @classmethod
    def from_json(cls, row: Any, where: str = "summary.json") -> "DeviceFile":
        """Undo ``to_json``, also of the rows that summaries and searches of older runs hold.

        Args:
            row: An object; it may lack what it says nothing of, and may have other keys.
            where: Its place, for what is said of one that is wrong.

        Raises:
            InputError: It is no object, or a figure is of another kind.
        """
        held = _by_runtime(in_todays_words(row)) if isinstance(row, dict) else row
        _SHAPE(held, where)
        names = [item.name for item in fields(DeviceFile)]
        known = {name: held[name] for name in names if held.get(name) is not None}
        if "interval" in known:
            known["interval"] = tuple(known["interval"])
        return DeviceFile(**{"precision": "None"} | known)


def in_todays_words(row: dict[str, Any]) -> dict[str, Any]:
    """A row in today's keys: older ones have bytes, and accuracy as the only metric."""
    found = dict(row)
    for old, new in (("bytes", "flash_bytes"), ("accuracy", "quality")):
        if old in found:
            found.setdefault(new, found.pop(old))
    return found


def _by_runtime(row: dict[str, Any]) -> dict[str, Any]:
    figures = {key: row[key] for key in ("quality", "agreement") if isinstance(row.get(key), int | float)}
    return row | {key: {_LITERT: figure} for key, figure in figures.items()}
