"""Names and figures of device files, written the way an embedded engineer reads them."""

from fedkd.edge.runtimes import RUNTIMES as TABLE
from fedkd.objectives.metric import Scale
from sims.report.table import NONE

KB = 1024  # as in a budget's "32KB"
RUNTIMES = {"keras": "Keras", **{name: each.label for name, each in TABLE.items()}, "file": "the file"}
LINES = {"flash": "Flash, B", "arena": "Arena, B", "macs": "MACs"}
# MLPerf Tiny's int8 reference models: bytes of the file and of the arena, MACs, and what a submission must reach.
MLPERF = (
    ("Keyword spotting", 53_936, 24_272, 2_660_000, "90 %"),
    ("Visual wake words", 333_288, 103_680, 7_490_000, "80 %"),
    ("Image classification", 98_496, 55_984, 12_500_000, "85 %"),
    ("Anomaly detection", 276_976, 3_984, 264_000, "AUC 0.85"),
)


def runtime(name: str) -> str:
    """A runtime as a reader names it.

    >>> runtime("tflm"), runtime("esp32")
    ('TFLite Micro', 'esp32')
    """
    return RUNTIMES.get(name, name)


def line(name: str, metric: Scale) -> str:
    """A line of the budget with its unit.

    >>> from fedkd.objectives.metric import ACCURACY
    >>> line("drop", ACCURACY), line("drop", Scale("mae", "mean absolute error", "kWh", "lower"))
    ('Accuracy lost, points', 'Mean absolute error gained, kWh')
    """
    change = "lost" if metric.better == "higher" else "gained"
    return metric.difference(f"{metric.title} {change}") if name == "drop" else LINES.get(name, name)


def worst(metric: Scale) -> str:
    """Which of two figures of a metric is the worse one."""
    return "lower" if metric.better == "higher" else "higher"


def interval(low: float, high: float, metric: Scale) -> str:
    """The ends of an interval, with the unit once.

    >>> from fedkd.objectives.metric import ACCURACY
    >>> interval(0.9, 0.95, ACCURACY), interval(43.2, 47.9, Scale("mae", "mean absolute error", "kWh", "lower"))
    ('90.0 to 95.0 %', '43.2 to 47.9 kWh')
    """
    if metric.unit == "%":
        return f"{100 * low:.1f} to {100 * high:.1f} %"
    return f"{metric.text(low).removesuffix(metric.unit).rstrip()} to {metric.text(high)}"


def figure(value: float | None) -> str:
    """A number with its thousands apart, a dash where nothing was measured.

    >>> figure(32768), figure(1.0), figure(-0.4567), figure(None)
    ('32,768', '1.0', '−0.46', '–')
    """
    if value is None:
        return NONE
    whole = isinstance(value, int) or abs(value) >= 1000
    text = f"{value:,.0f}" if whole else str(round(value, 2))
    return text.replace("-", "−")


def kilobytes(count: float | None) -> str:
    """Bytes in units of 1,024.

    >>> kilobytes(32768), kilobytes(10888), kilobytes(None)
    ('32 KB', '10.6 KB', '–')
    """
    return NONE if count is None else f"{count / KB:.3g} KB" if count < 999.5 * KB else f"{count / KB:,.0f} KB"


def millions(count: float) -> str:
    """Multiplications, short.

    >>> millions(264_000), millions(2_660_000), millions(920)
    ('264 k', '2.66 M', '920')
    """
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:.3g} {unit}"
    return f"{count:g}"
