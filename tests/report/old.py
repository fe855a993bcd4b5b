"""A run's folder as it was written before tasks owned their metrics: no task.json, and ``accuracy`` in the summary."""

import json
from pathlib import Path

HISTORY = """\
{"round": 1, "rounds": 4, "phase": "train", "participants": [0, 1], "shared_accuracy": 0.2, "shared_f1": 0.19, \
"teacher_mean": null, "teacher_std": null, "teacher_personal": null, "up_bytes": 3000, "down_bytes": 1000, \
"ranks": {"conv/kernel": [2, 3.5, 9], "conv/bias": [null, null, 1]}, "refused": [], "seconds": 2.0}
{"round": 2, "rounds": 4, "phase": "train", "participants": [0, 1], "shared_accuracy": 0.4, "shared_f1": 0.38, \
"teacher_mean": 0.5, "teacher_std": 0.02, "teacher_personal": null, "teacher_f1": 0.45, "up_bytes": 3000, \
"down_bytes": 1000, "ranks": {"conv/kernel": [null, 3.5, 9], "conv/bias": [null, null, 1]}, "refused": [], \
"seconds": 2.0}
{"round": 3, "rounds": 4, "phase": "train", "participants": [0, 1], "shared_accuracy": 0.6, "shared_f1": 0.57, \
"teacher_mean": null, "teacher_std": null, "teacher_personal": null, "up_bytes": 3000, "down_bytes": 1000, \
"ranks": {"conv/kernel": [2, 3.5, 9], "conv/bias": [null, null, 1]}, \
"refused": [{"client": 1, "reason": "values", "why": "NaN"}], "seconds": 2.0}
{"round": 4, "rounds": 4, "phase": "finish", "participants": [0, 1], "shared_accuracy": 0.8, "shared_f1": 0.75, \
"teacher_mean": 0.9, "teacher_std": 0.02, "teacher_personal": null, "teacher_f1": 0.7, "up_bytes": 3000, \
"down_bytes": 1000, "ranks": {"conv/kernel": [null, 3.5, 9], "conv/bias": [null, null, 1]}, "refused": [], \
"seconds": 2.0}
"""

SUMMARY = {
    "name": "old",
    "method": "fedkd",
    "task": "digits",
    "seed": 0,
    "engine": "local",
    "rounds": 3,
    "finish_rounds": 1,
    "clients": 2,
    "accuracy": {
        "shared": 0.8,
        "teacher_mean": 0.9,
        "teacher_std": 0.02,
        "teacher_personal": None,
        "majority": 0.1,
    },
    "f1_positive": 0.75,
    "teacher_f1": 0.7,
    "traffic": {
        "up_bytes_per_client": 6000,
        "down_bytes_per_client": 2000,
        "dense_teacher_bytes_per_client": 160_000,
        "dense_student_bytes_per_client": 16_000,
    },
    "speed": {"seconds": 8.0, "client_updates_per_second": 1.0},
    "edge": [
        {"path": "s.tflite", "precision": "float32", "sparsity": 0.0, "bytes": 9000, "gzip_bytes": 8000}
        | {"accuracy": 0.8, "agreement": 1.0},
        {"path": "q.tflite", "precision": "int8", "sparsity": 0.8, "bytes": 3000, "gzip_bytes": 1000}
        | {"accuracy": 0.79, "agreement": 0.98},
        {"path": "x.tflite", "precision": "int16x8", "error": "no kernel"},
    ],
    "shared_sha256": "0123456789ab" + "c" * 52,
    "parameters": {"teacher": 40_000, "student": 4000},
}


def write_old(run: Path, rounds: int = 4) -> Path:
    """That folder; with fewer rounds, as it was when the run stopped."""
    run.mkdir(parents=True)
    (run / "history.jsonl").write_text("".join(HISTORY.splitlines(keepends=True)[:rounds]))
    (run / "config.toml").write_text('task = "digits"\n')
    if rounds == 4:
        (run / "summary.json").write_text(json.dumps(SUMMARY))
    return run
