"""What other tools make of a trained network, called as their own documentation tells."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import mobiledistill as md

__all__ = [
    "ai_edge_quantizer",
    "coremltools_palettes",
    "nncf_quantization",
    "onnxruntime_quantization",
    "plain_onnx",
    "plain_tflite",
    "predict_by_index",
    "pruned",
    "stripped",
]

Samples = Mapping[str, torch.Tensor]


# -- pruning ------------------------------------------------------------------------------------------------------


def pruned(net: nn.Module, inputs: torch.Tensor, ratio: float, *, isomorphic: bool) -> nn.Module:
    """A copy that Torch-Pruning has cut: ``ratio`` of the channels of every layer, or where they matter least.

    Args:
        net: the trained network.
        inputs: one sample.
        ratio: share of the channels to cut.
        isomorphic: ranks the channels of all layers of a kind together (global and isomorphic pruning).
    """
    import torch_pruning as tp

    smaller = copy.deepcopy(net).eval()
    last = [layer for layer in smaller.modules() if isinstance(layer, nn.Linear)][-1]
    pruner = tp.pruner.BasePruner(
        smaller,
        inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        global_pruning=isomorphic,
        isomorphic=isomorphic,
        ignored_layers=[last],
    )
    pruner.step()
    return smaller


# -- converting ---------------------------------------------------------------------------------------------------


def plain_tflite(net: nn.Module, inputs: tuple[torch.Tensor, ...], to: Path) -> Path:
    """litert-torch, 32-bit floats."""
    import litert_torch

    litert_torch.convert(net.eval(), inputs).export(str(to))
    return to


def plain_onnx(net: nn.Module, inputs: tuple[torch.Tensor, ...], to: Path) -> Path:
    """torch.onnx, 32-bit floats."""
    torch.onnx.export(net.eval(), inputs, to, dynamo=True, verbose=False, external_data=False)
    return to


# -- quantizing ---------------------------------------------------------------------------------------------------


def ai_edge_quantizer(path: Path, samples: Samples, to: Path) -> Path:
    """8-bit weights and activations (static_wi8_ai8), calibrated on ``samples``."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    names = list(Interpreter(str(path)).get_signature_runner().get_input_details())
    tool = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
    fed = {"serving_default": list(_singly(samples, names))}
    to.write_bytes(tool.quantize(tool.calibrate(fed, num_threads=1)).quantized_model)
    return to


def onnxruntime_quantization(path: Path, samples: Samples, to: Path) -> Path:
    """QDQ with 8-bit weights for each channel, calibrated on ``samples``."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    names = [value.name for value in onnxruntime.InferenceSession(str(path)).get_inputs()]

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # a library without types
        def __init__(self) -> None:
            self._fed = _singly(samples, names)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._fed, None)

    quantize_static(
        str(path),
        str(to),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return to


def nncf_quantization(path: Path, samples: Samples, to: Path) -> Path:
    """NNCF's post-training quantization of an .onnx file, with its defaults.

    Raises:
        ModuleNotFoundError: nncf is no dependency of this project; ``pip install nncf``.
    """
    import nncf
    import onnx

    model = onnx.load(path)
    names = [value.name for value in model.graph.input]
    fed = list(_singly(samples, names))
    onnx.save(nncf.quantize(model, nncf.Dataset(fed), subset_size=len(fed)), to)
    return to


def coremltools_palettes(net: nn.Module, inputs: tuple[torch.Tensor, ...], bits: int, to: Path) -> Path:
    """A Core ML program whose weights are look-up tables of ``2 ** bits`` values, found by k-means."""
    import coremltools
    from coremltools.optimize import coreml

    exported = torch.export.export(net.eval(), inputs).run_decompositions({})
    program = coremltools.convert(exported, convert_to="mlprogram", skip_model_load=True)
    config = coreml.OptimizationConfig(coreml.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=128))
    coreml.palettize_weights(program, config).save(str(to))
    return to


def _singly(samples: Samples, names: list[str]) -> Any:
    """The samples one by one, as arrays under the names of the file's inputs."""
    for one in zip(*samples.values(), strict=True):
        yield dict(zip(names, (value.unsqueeze(0).numpy() for value in one), strict=True))


# -- names --------------------------------------------------------------------------------------------------------


def stripped(path: Path, to: Path) -> Path:
    """The same .tflite file without names, by TensorFlow's own tool; to be called by the index of its tensors."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    flatbuffer_utils.strip_strings(model)
    flatbuffer_utils.write_model(model, str(to))
    return to


def predict_by_index(path: Path, output: str) -> md.Predict:
    """Asks a .tflite file of one input and one output, which need no names, sample by sample."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (asked,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> dict[str, NDArray[np.generic]]:
        answers = []
        for sample in next(iter(inputs.values())):
            interpreter.set_tensor(asked["index"], _stored(sample[None], asked))
            interpreter.invoke()
            answers.append(_real(interpreter.get_tensor(answered["index"]), answered))
        return {output: np.concatenate(answers)}

    return predict


def _stored(values: NDArray[Any], tensor: Mapping[str, Any]) -> NDArray[Any]:
    """Real values as a tensor of the file holds them: the tool's own files begin and end in 8 bits."""
    scale, zero = tensor["quantization"]
    if not scale:
        return values
    limits = np.iinfo(tensor["dtype"])
    stored: NDArray[Any] = np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(tensor["dtype"])
    return stored


def _real(values: NDArray[Any], tensor: Mapping[str, Any]) -> NDArray[Any]:
    scale, zero = tensor["quantization"]
    return (values.astype(np.float32) - zero) * scale if scale else values
