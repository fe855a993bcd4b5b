"""Folders of runs as a server leaves them, made without a run."""

import json
from pathlib import Path
from typing import Any

from fedkd.objectives.metric import ACCURACY
from fedkd.results.summary import Summary

NASTY = "<script>alert('&')</script>"


def a_round(number: int, rounds: int = 4, **changes: Any) -> dict[str, Any]:
    """A round's line: 3 kB up and 1 kB down over all clients, the teachers measured in even rounds."""
    even = number % 2 == 0
    row = {
        "round": number,
        "rounds": rounds,
        "phase": "finish" if number == rounds else "train",
        "participants": [0, 1],
        "shared_accuracy": 0.2 * number,
        "teacher_mean": 0.2 * number + 0.1 if even else None,
        "teacher_std": 0.02 if even else None,
        "teacher_personal": None,
        "up_bytes": 3000,
        "down_bytes": 1000,
        "ranks": {"conv/kernel": [None if even else 2, 3.5, 9], "conv/bias": [None, None, 1]},
        "refused": [{"client": 1, "reason": "values", "why": NASTY}] if number == 3 else [],
        "seconds": 2.0,
    }
    return row | changes


def a_summary_file(**changes: Any) -> dict[str, Any]:
    """The summary.json of four rounds between two clients, each of which sent 6 kB and received 2 kB."""
    summary = {
        "name": NASTY,
        "method": "fedkd",
        "task": "digits",
        "seed": 0,
        "engine": "local",
        "rounds": 3,
        "finish_rounds": 1,
        "clients": 2,
        "shared": "student",
        "parameters": {"teacher": 40_000, "student": 4000},
        "metrics": [ACCURACY.to_json()],
        "quality": {
            "shared": 0.8,
            "teacher_mean": 0.9,
            "teacher_std": 0.02,
            "teacher_personal": None,
            "baseline": 0.1,
            "finished": None,
        },
        "others": {},
        "traffic": {
            "up_bytes_per_client": 6000,
            "down_bytes_per_client": 2000,
            "dense_teacher_bytes_per_client": 160_000,
            "dense_student_bytes_per_client": 16_000,
        },
        "speed": {"seconds": 8.0, "client_updates_per_second": 1.0},
        "shared_sha256": "0123456789ab" + "c" * 52,
        "versions": {},
        "edge": [
            {"path": "s.tflite", "precision": "float32", "sparsity": 0.0, "bytes": 9000, "gzip_bytes": 8000}
            | {"accuracy": 0.8, "agreement": 1.0},
            {"path": "q.tflite", "precision": "int8", "sparsity": 0.8, "bytes": 3000, "gzip_bytes": 1000}
            | {"accuracy": 0.79, "agreement": 0.98},
            {"path": "x.tflite", "precision": "int16x8", "error": NASTY},
        ],
    }
    return summary | changes


def a_summary(**changes: Any) -> Summary:
    """What that file says."""
    return Summary.from_json(a_summary_file(**changes))


def write(run: Path, rows: list[dict[str, Any]], summary: dict[str, Any] | None = None, **partition: Any) -> Path:
    """A run's folder with these files."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "config.toml").write_text(f'name = "{NASTY}"\n')
    if summary:
        (run / "summary.json").write_text(json.dumps(summary))
    if partition:
        (run / "partition.json").write_text(json.dumps(partition))
    return run


def lines(run: Path, *text: str) -> Path:
    """A run whose history is these lines, the last without its end."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "history.jsonl").write_text("\n".join(text))
    return run
