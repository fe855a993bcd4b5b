"""The page of a search for a device's file: one HTML file that needs nothing else, and its pictures as PNG files."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fedkd.base.files import replace_file
from fedkd.edge.runtimes import RUNTIMES
from fedkd.objectives.metric import ACCURACY
from fedkd.results.search import Candidate, Search, read_search
from sims.report import edge_words as words
from sims.report.edge_file import EdgeFile
from sims.report.html import Picture, picture, render
from sims.report.plots import MOST_LAYERS, edge_frontier, edge_layers, edge_stages
from sims.report.table import NONE, percent


def write_edge_page(folder: Path) -> Path:
    """Write ``edge.html`` and its plots as PNG files beside ``edge.json``.

    Args:
        folder: where ``edge.json`` lies.

    Returns:
        The page's path.

    Raises:
        InputError: ``edge.json`` is missing, isn't JSON, lacks a key or holds a value that can't be.
    """
    edge = EdgeFile(read_search(folder))
    pictures = {drawn.name: drawn for drawn in _pictures(edge)}
    for drawn in pictures.values():
        replace_file(folder / f"{drawn.name}.png", drawn.light)
    page = folder / "edge.html"
    replace_file(page, _html(edge, pictures).encode())
    return page


def _pictures(edge: EdgeFile) -> Iterator[Picture]:
    """The plots that there are figures for."""
    title, worst = edge.content.metric.title, words.worst(edge.content.metric)
    if edge.stages():
        interval = "95 % Wilson interval" if edge.content.metric.name == ACCURACY.name else "95 % interval"
        text = f"{title} from the teacher to the file, with its {interval}."
        yield picture("edge_stages", f"{title} at each stage", text, partial(edge_stages, edge))
    if any(edge.lowest(candidate) for candidate in edge.candidates):
        text = (
            f"{title} in LiteRT or TFLite Micro, where it is {worst}, against what the file costs. Numbers are those "
            "of the table below; dashed steps join what no cheaper file beats."
        )
        yield picture("edge_frontier", "The frontier", text, partial(edge_frontier, edge))
    if edge.shown and any(layer["snr_db"] is not None for layer in edge.shown.layers):
        text = (
            "Each layer's signal in the float model over what rounding adds to it; higher is truer. Of more than "
            f"{MOST_LAYERS} layers, those with the lowest."
        )
        yield picture("edge_layers", "What rounding does to each layer", text, partial(edge_layers, edge.shown))


def _html(edge: EdgeFile, pictures: dict[str, Picture]) -> str:
    """The page."""
    content = edge.content
    shown = edge.shown
    return render(
        "edge.html.j2",
        name=f"{content.task} on a device",
        subtitle=f"From {content.source}, tested on {words.figure(content.n)} examples",
        edge=content,
        shown=shown,
        tiles=list(_tiles(edge, shown)) if shown else [],
        stages=edge.stages(),
        pictures=pictures,
        lowest=edge.lowest,
        figures_of=partial(_figures, hardware=content.hardware),
        accuracies=partial(_accuracies, edge=edge),
        missing=_missing,
        known_to=_known_to,
        facts=_facts(content),
        words=words,
    )


def _tiles(edge: EdgeFile, file: Candidate) -> Iterator[tuple[str, str, str]]:
    """The headline figures of the file that is shown: what it is, the figure, the budget's line or the runtime."""
    budget, metric = edge.content.budget, edge.content.metric
    for label, value, line in (("Flash", file.flash_bytes, "flash"), ("Arena", file.arena_bytes, "arena")):
        where = f"of {words.kilobytes(budget[line])} allowed" if line in budget else ""
        where = where or ("in TFLite Micro" if line == "arena" else "the file's size")
        yield label, words.kilobytes(value), where if value is not None else "not measured"
    limit = f"of {words.millions(budget['macs'])} allowed" if "macs" in budget else "multiply-accumulates"
    yield "MACs", words.millions(file.macs or 0), limit
    found = edge.lowest(file)
    if found:
        ends = edge.interval(found[1])
        where = f"in {words.runtime(found[0])}" + (f", {words.interval(*ends, metric)}" if ends else "")
        yield metric.title, metric.text(found[1]), where


def _figures(file: Candidate, hardware: str) -> Iterator[tuple[str, str, str]]:
    """A file's figures: what, how much, and the runtime it was measured in."""
    arena: Mapping[str, int | None] = file.arena or dict.fromkeys(("head", "tail", "total"))
    yield "Flash, B", words.figure(file.flash_bytes), "the file"
    yield "In gzip, B", words.figure(file.gzip_bytes), "the file"
    if file.codebook_bytes is not None:
        yield "As codebooks and indices, B", words.figure(file.codebook_bytes), "Keras"
    yield "Float tensors", words.figure(file.float_tensors), "the file"
    yield "Arena, activations (head), B", words.figure(arena["head"]), "TFLite Micro"
    yield "Arena, lasting (tail), B", words.figure(arena["tail"]), "TFLite Micro"
    yield "Arena, total, B", words.figure(arena["total"]), "TFLite Micro"
    yield "MACs", words.figure(file.macs), "Keras"
    if file.uncounted:
        yield "Layers whose MACs can't be counted", ", ".join(file.uncounted), "Keras"
    yield "Parameters", words.figure(file.parameters), "Keras"
    for layer, why in file.skipped.items():
        yield f"{layer}: its rounding wasn't learned", why, "Keras"
    latency = file.latency_ms
    if latency:
        where = f"{words.runtime(latency['runtime'])}, one thread of {hardware}"
        yield "Latency, median, ms", f"{latency['median']:.3g}", where
        yield "Latency, 95th percentile, ms", f"{latency['p95']:.3g}", where
    emulated = file.emulated
    if emulated:
        steps = f"{emulated['difference']:.2g}" if emulated["steps"] is None else f"{emulated['steps']} steps"
        yield "Decides as LiteRT does here", percent(emulated["agreement"]), words.runtime(emulated["machine"])
        yield "Logits differ from LiteRT's by at most", steps, words.runtime(emulated["machine"])


def _accuracies(file: Candidate, edge: EdgeFile) -> Iterator[tuple[str, str, str, str, str]]:
    """A row a runtime: its name, quality, interval, agreement with Keras, and why it didn't run."""
    names, metric = [*words.RUNTIMES, *file.quality, *file.errors], edge.content.metric
    for name in dict.fromkeys(names):
        value, error = file.quality.get(name), file.errors.get(name, "")
        if value is not None or error:
            ends = edge.interval(value) if value is not None else None
            interval = words.interval(*ends, metric) if ends else NONE
            yield words.runtime(name), metric.text(value), interval, percent(file.agreement.get(name)), error


def _known_to(file: Candidate) -> list[str]:
    """The runtimes of which it is known whether they have the file's ops."""
    return [name for name in RUNTIMES if any(name in op for op in file.ops)]


def _missing(file: Candidate) -> str:
    """Ops that a runtime lacks, by runtime."""
    lacks = {key: [op["name"] for op in file.ops if op.get(key) is False] for key in RUNTIMES}
    return "; ".join(f"{words.runtime(key)} lacks {', '.join(names)}" for key, names in lacks.items() if names)


def _facts(content: Search) -> list[tuple[str, str]]:
    """What identifies the search."""
    calibration = content.calibration
    rows = f"{words.figure(calibration['rows'])} examples, SHA-256 {calibration['sha256']}" if calibration else "none"
    return [
        ("Task", content.task),
        ("Model", content.source),
        ("Test examples", words.figure(content.n)),
        ("Calibration set", rows),
        ("Latency measured on", content.hardware),
    ]
