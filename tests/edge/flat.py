"""TFLite files made or changed by hand, through the schema."""

from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def codes():
    """Numbers of TFLite's operations by name."""
    return {name: code for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def operator_code(number, custom=None):
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version = number, min(number, 127), custom, 1
    return code


def packed(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def renamed(path, out, number, custom=None):
    """Write a copy of a file whose first operation is another one; return its path."""
    model = schema.ModelT.InitFromPackedBuf(Path(path).read_bytes())
    model.operatorCodes[0] = operator_code(number, custom)
    out.write_bytes(packed(model))
    return out


def calling(*numbers):
    """A file that calls operations on one number, whatever they would need."""
    model, graph, tensor = schema.ModelT(), schema.SubGraphT(), schema.TensorT()
    tensor.shape, tensor.name, tensor.buffer = [1], "x", 0
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    for index, number in enumerate(numbers):
        call = schema.OperatorT()
        call.opcodeIndex, call.inputs, call.outputs = index, [0], [0]
        if number == schema.BuiltinOperator.VAR_HANDLE:
            call.builtinOptionsType, call.builtinOptions = schema.BuiltinOptions.VarHandleOptions, variable()
        graph.operators.append(call)
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes = [operator_code(number) for number in numbers]
    return packed(model)


def variable():
    options = schema.VarHandleOptionsT()
    options.container, options.sharedName = "", "v"
    return options
