"""A run's transformer with fewer bits, weights and layers, by what it reads: what each file answers in LiteRT.

Begin with `fedkd run --task trec6 --data FILE ... --out RUN`, see docs/edge.md; then this with RUN, and the same task.
"""

import argparse
from pathlib import Path

import numpy as np

import fedkd

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("run", type=Path)
parser.add_argument("--task", default="trec6")
parser.add_argument("--data", default="")
parser.add_argument("--rows", type=int, default=512, help="training examples that the methods look at")
parser.add_argument("--emulate", choices=["pi4"], help="a device to run each file on, too, see docs/edge.md")
parser.add_argument("--out", type=Path, default=Path("runs/transformer_on_device"))
order = parser.parse_args()

student = fedkd.open_run(order.run).student
task = fedkd.resolve({"task": order.task, "data": order.data}).task
x, x_test, y_test = task.train.x[: order.rows], task.test.x, task.test.y

# Four clients' sums, each over texts of its own and without padding: no text has to leave them.
parts = np.array_split(x, 4)
shown = fedkd.merged_moments(*(fedkd.moments(student, part, part != 0) for part in parts))
angles = fedkd.block_angles(student, x, x != 0)

variants = {
    "float32": (student, "float32"),
    "float32, Wanda 50 %": (fedkd.wanda(student, shown), "float32"),
    "float32, SparseGPT 50 %": (fedkd.sparse_gpt(student, shown), "float32"),
    "float32, Wanda 2:4": (fedkd.wanda(student, shown, "2:4"), "float32"),
    "float32, SparseGPT 2:4": (fedkd.sparse_gpt(student, shown, "2:4"), "float32"),
    "float32, one layer dropped": (fedkd.drop_blocks(student, angles), "float32"),
    "dynamic": (student, "dynamic"),
    "int4, to the nearest": (student, "int4"),
    "int4, GPTQ": (fedkd.gptq(student, shown), "int4"),
    "int4, AWQ": (fedkd.awq(student, shown), "int4"),
}

order.out.mkdir(parents=True, exist_ok=True)
plain = student.predict(x_test, verbose=0)
runtimes = ["litert", order.emulate] if order.emulate else ["litert"]
names = {"litert": "accuracy in LiteRT", "pi4": "on an emulated Pi 4"}
columns = ["file", "bytes", "in gzip", *(names[runtime] for runtime in runtimes)]
columns += ["decides as the student", "signal to noise, dB", "median, ms"]
print("| " + " | ".join(columns) + " |")
print("|---" * len(columns) + "|")
for number, (name, (model, precision)) in enumerate(variants.items()):
    model.save(order.out / "model.keras")
    (file,) = fedkd.convert(order.out / "model.keras", x, order.out, [precision], f"{number}")
    if file.path is None:
        raise SystemExit(file.error)
    found = fedkd.measure(file.path, x_test, runtimes)
    for runtime, error in found.errors.items():
        raise SystemExit(f"{name}: {runtime}: {error}")
    answers = found.outputs["litert"]
    right = " | ".join(f"{(found.outputs[each].argmax(-1) == y_test).mean():.1%}" for each in runtimes)
    alike = (answers.argmax(-1) == plain.argmax(-1)).mean()
    ratio = 10 * np.log10(np.square(plain).sum() / np.square(answers - plain).sum())
    sizes = f"{found.flash_bytes:,} | {found.gzip_bytes:,}"
    print(f"| {name} | {sizes} | {right} | {alike:.1%} | {ratio:.1f} | {found.latency[1].median:.3f} |", flush=True)
