"""Small LiteRT models as flatbuffers: one operation to run, or many to be quantized by the converter."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from needs import oracle

#: Our name -> the interpreter's numpy dtype.
STORAGE = {"qint8": np.dtype(np.int8), "quint8": np.dtype(np.uint8), "int16": np.dtype(np.int16)}


def schema() -> Any:
    """The classes of LiteRT's flatbuffers, which ai_edge_litert ships."""
    oracle("ai_edge_litert")
    return importlib.import_module("ai_edge_litert.schema_py_generated")


def code_type(dtype: str | None) -> int:
    """The schema's number of one of our formats, or of float32."""
    name = "FLOAT32" if dtype is None else STORAGE[dtype].name.upper()
    return int(getattr(schema().TensorType, name))


class Model:
    """A model of one subgraph while it is put together."""

    def __init__(self) -> None:
        self._types = schema()
        self._graph = self._types.SubGraphT()
        self._graph.tensors, self._graph.operators, self._graph.inputs, self._graph.outputs = [], [], [], []
        self._buffers, self._codes = [self._types.BufferT()], []

    def tensor(self, shape: tuple[int, ...], dtype: str | None = None, data: np.ndarray | None = None) -> int:
        """A new tensor's index; float32 where dtype is None, constant where it has data."""
        made = self._types.TensorT()
        made.name, made.shape = f"t{len(self._graph.tensors)}", list(shape)
        made.type, made.quantization = code_type(dtype), self._types.QuantizationParametersT()
        made.buffer = 0
        if data is not None:
            buffer = self._types.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def quantized(self, tensor: int, scale: np.ndarray, zero_point: np.ndarray, axis: int = 0) -> None:
        """Give a tensor scales and zero points, several along an axis."""
        found = self._graph.tensors[tensor].quantization
        found.scale, found.zeroPoint = np.atleast_1d(scale), np.atleast_1d(zero_point).astype(np.int64)
        found.quantizedDimension = axis

    def operation(self, name: str, inputs: list[int], outputs: list[int], version: int = 1, **options: int) -> None:
        """Append an operation; ``options`` are fields of the schema's table of its options."""
        types, made = self._types, self._types.OperatorT()
        code = getattr(types.BuiltinOperator, name)
        if not self._codes:
            kind = types.OperatorCodeT()
            kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, code, version
            self._codes.append(kind)
        assert self._codes[0].builtinCode == code, "these models have operations of one kind"
        made.opcodeIndex, made.inputs, made.outputs = 0, inputs, outputs
        table = {"CONV_2D": "Conv2DOptions", "ADD": "AddOptions"}.get(name)
        if table is not None:
            made.builtinOptionsType = getattr(types.BuiltinOptions, table)
            made.builtinOptions = getattr(types, f"{table}T")()
            for field, value in options.items():
                setattr(made.builtinOptions, field, value)
        self._graph.operators.append(made)

    def between(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The flatbuffer of the model from inputs to outputs."""
        import flatbuffers

        model = self._types.ModelT()
        self._graph.inputs, self._graph.outputs = inputs, outputs
        model.version, model.subgraphs = 3, [self._graph]
        model.buffers, model.operatorCodes = self._buffers, self._codes
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


@dataclass(frozen=True)
class Quantized:
    """One tensor of a model that the converter has quantized."""

    scale: np.ndarray
    zero_point: np.ndarray
    data: np.ndarray | None


def quantized_by_converter(
    model: bytes, batch: list[np.ndarray], dtype: str, whole_tensors: bool = False
) -> tuple[list[Quantized], dict[str, Quantized]]:
    """Calibrate with one batch, quantize activations to dtype and weights to int8: the inputs, and constants by name.

    ``whole_tensors``: one scale for all of a weight instead of one per channel.
    """
    oracle("ai_edge_litert")
    wrapper = importlib.import_module("ai_edge_litert._pywrap_tensorflow_lite_calibration_wrapper")
    calibrator = wrapper.CalibrationWrapper(model, [], [])  # which does not keep the bytes alive: the caller does
    calibrator.Prepare()
    calibrator.FeedTensor(batch)
    outside = STORAGE[dtype].num
    inside = STORAGE["int16" if dtype == "int16" else "qint8"].num
    bias = np.dtype(np.int64 if dtype == "int16" else np.int32).num
    made = calibrator.QuantizeModel(outside, outside, False, inside, bias, whole_tensors, whole_tensors)
    found = schema().Model.GetRootAs(made, 0)
    graph = found.Subgraphs(0)
    tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
    inputs = [_quantized(tensors[index], found) for index in graph.InputsAsNumpy()]
    return inputs, {each.Name().decode(): _quantized(each, found) for each in tensors if each.Buffer()}


def _quantized(tensor: Any, model: Any) -> Quantized:
    found, data = tensor.Quantization(), model.Buffers(tensor.Buffer())
    return Quantized(
        found.ScaleAsNumpy().copy(),
        found.ZeroPointAsNumpy().copy(),
        data.DataAsNumpy().view(np.int8) if data.DataLength() else None,
    )


def run(model: bytes, x: np.ndarray, kernels: str) -> np.ndarray:
    """The output of a model; ``kernels``: "BUILTIN_REF" for the reference kernels, "AUTO" for the default delegate."""
    oracle("ai_edge_litert")
    interpreter = importlib.import_module("ai_edge_litert.interpreter")
    kind = getattr(interpreter.OpResolverType, kernels)
    made = interpreter.Interpreter(model_content=model, experimental_op_resolver_type=kind, num_threads=1)
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], x)
    made.invoke()
    return np.asarray(made.get_tensor(made.get_output_details()[0]["index"]))
