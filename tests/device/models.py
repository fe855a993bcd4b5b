"""TFLite files whose answers are known by hand: logits = x + bias, on three numbers."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from clients.device.protocol.manifest import Golden, Manifest, digest
from fedkd.data.dataset import Dataset
from fedkd.tasks.task import Task
from tests.edge.flat import operator_code, packed

X = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 3], [-1, -2, -3]], np.float32)
LABELS = ("red", "green", "blue")


def tensor(name, buffer):
    made = schema.TensorT()
    made.shape, made.name, made.buffer, made.type = [1, 3], name, buffer, schema.TensorType.FLOAT32
    return made


def adder(bias):
    """A file that adds three numbers to its input."""
    model, graph, call = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    empty, held = schema.BufferT(), schema.BufferT()
    held.data = np.frombuffer(np.array([bias], "<f4").tobytes(), np.uint8)
    graph.tensors = [tensor("x", 0), tensor("bias", 1), tensor("y", 0)]
    graph.inputs, graph.outputs = [0], [2]
    call.opcodeIndex, call.inputs, call.outputs = 0, [0, 1], [2]
    call.builtinOptionsType, call.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph.operators = [call]
    model.version, model.subgraphs, model.buffers = 3, [graph], [empty, held]
    model.operatorCodes = [operator_code(schema.BuiltinOperator.ADD)]
    return packed(model)


def crasher():
    """A file that takes LiteRT 2.3 down: an offset in it leads outside."""
    file = bytearray(adder((0, 0, 0)))
    file[18] = 0
    return bytes(file)


def manifest(version, file, bias, channel="default", **changes):
    """What a publisher signs with a file whose answers are x + bias."""
    held = {"name": "m.tflite", "bytes": len(file), "sha256": digest(file), "precision": "float32"}
    end = {"dtype": "float32", "scale": 0.0, "zero_point": 0}
    fields = {
        "channel": channel, "version": version, "run": "made", "task": "colours", "labels": LABELS, "file": held,
        "input": {"shape": [3], **end}, "output": end, "ram_bytes": 36, "accuracy": None,
        "golden": Golden(X, X + np.array(bias, np.float32), 0.001),
    }  # fmt: skip
    return Manifest(**fields | changes)


def release(version, bias, channel="default", file=None, **changes):
    """Targets of a version whose answers are x + bias: the model and its manifest."""
    file = adder(bias) if file is None else file
    made = manifest(version, file, bias, channel, **changes)
    return {f"{channel}/m.tflite": file, f"{channel}/manifest.json": made.pack()}


def task():
    """Rows of three numbers whose largest is their colour."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    data = Dataset(x, x.argmax(-1).astype(np.int32))
    return Task("colours", LABELS, data, data, teacher=lambda: None, student=lambda: None)
