"""``edge.json`` as a search leaves it, made without a search."""

import json
from pathlib import Path
from typing import Any

from tests.report.runs import NASTY

OPS = [
    {"name": "CONV_2D", "count": 3, "litert": True, "tflm": True},
    {"name": "GELU", "count": 1, "litert": True, "tflm": False},
]


def a_layer(name: str = "conv", snr: float | None = 31.5) -> dict[str, Any]:
    return {"name": name, "kind": "Conv2D", "shape": [8, 8, 16], "parameters": 160, "macs": 9216, "snr_db": snr}


def a_candidate(path: str = "s_int8.tflite", **changes: Any) -> dict[str, Any]:
    """A file that meets the budget of ``an_edge``: one point less than 97 % is allowed, 96.5 % it is in TFLM."""
    candidate = {
        "path": path,
        "recipe": "channels 50%, int8 (qat)",
        "precision": "int8",
        "flash_bytes": 10_888,
        "gzip_bytes": 7_690,
        "codebook_bytes": None,
        "arena_bytes": 4832,
        "arena": {"head": 3200, "tail": 1632, "total": 4832},
        "macs": 120_000,
        "uncounted": [],
        "parameters": 3642,
        "skipped": {},
        "float_tensors": 0,
        "accuracy": {"keras": 0.97, "litert": 0.968, "litert_reference": 0.967, "tflm": 0.965},
        "interval": [0.945, 0.982],
        "agreement": {"litert": 0.998, "litert_reference": 0.997, "tflm": 0.995},
        "latency_ms": {"median": 0.087, "p95": 0.12, "runtime": "litert"},
        "ops": OPS[:1],
        "layers": [a_layer(), a_layer("flatten", None)],
        "errors": {},
        "checks": [
            {"line": "flash", "limit": 32_768, "value": 10_888, "runtime": "file", "ok": True},
            {"line": "arena", "limit": 16_384, "value": 4832, "runtime": "tflm", "ok": True},
            {"line": "drop", "limit": 1.0, "value": 0.5, "runtime": "tflm", "ok": True},
        ],
        "emulated": None,
        "verdict": "usable",
    }
    return candidate | changes


def a_float_file(**changes: Any) -> dict[str, Any]:
    """A file that TensorFlow Lite Micro can't run, so that it has no arena."""
    candidate = a_candidate(
        "s_float16.tflite", recipe="float16", precision="float16", flash_bytes=30_392, float_tensors=9
    )
    candidate |= {"arena_bytes": None, "arena": None, "accuracy": {"keras": 0.97, "litert": 0.97, "tflm": None}}
    candidate |= {"ops": OPS, "layers": [], "errors": {"tflm": "s_float16.tflite can't run: no kernel for GELU"}}
    checks = [{"line": "arena", "limit": 16_384, "value": None, "runtime": "tflm", "ok": False}]
    return candidate | {"checks": checks, "verdict": "failed: arena not measured in tflm"} | changes


def an_edge(*candidates: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A search over 360 test examples that chose its first file, unless it has none."""
    files = list(candidates)
    edge = {
        "task": "digits",
        "source": "runs/demo",
        "budget": {"flash": 32_768, "arena": 16_384, "drop": 1.0},
        "n": 360,
        "hardware": "Intel(R) Xeon(R), 2 cores",
        "calibration": {"rows": 64, "sha256": "0123456789ab" + "c" * 52},
        "stages": [
            {"name": "teacher", "runtime": "keras", "accuracy": 0.98, "low": 0.959, "high": 0.99},
            {"name": "student", "runtime": "keras", "accuracy": 0.97, "low": 0.947, "high": 0.983},
        ],
        "candidates": files,
        "failed": [{"recipe": NASTY, "error": "the converter died: rolled LSTM in int8"}],
        "chosen": files[0]["path"] if files else None,
        "closest": None,
    }
    return edge | changes


def write_edge(folder: Path, edge: Any) -> Path:
    """A folder that holds this as ``edge.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "edge.json").write_text(edge if isinstance(edge, str) else json.dumps(edge))
    return folder
