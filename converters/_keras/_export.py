"""From a Keras model to .tflite, .onnx and .mlpackage, each through the exporter made for it, then without waste."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters._errors import ConversionError, MissingExtraError, MobileDistillError
from converters._keras._open import Opened, open_model, tensorflow
from converters._keras._source import KerasModel, run_tensorflow
from converters._program import Format, Precision
from converters._quiet import quiet

__all__ = ["export_keras"]

_Writer = Callable[[Opened, Path, Precision], None]
_OPSET = 18  # the newest that tf2onnx writes, and what the other ONNX files have


def export_keras(source: KerasModel, path: Path, format: Format, precision: Precision = "float32") -> Path:
    """Writes a Keras model in one format, under its own names of inputs and outputs.

    Raises:
        ConversionError: the exporter refuses the model, or writes what the format's own reader refuses.
        MissingExtraError: TensorFlow, or a library of the format, is not installed.
    """
    write = {"tflite": _write_tflite, "onnx": _write_onnx, "coreml": _write_coreml}[format]
    run_tensorflow(_export, write, source.path, source.trust, path, precision, what=str(source.path))
    return path


def _export(write: _Writer, source: Path, trust: bool, to: Path, precision: Precision) -> None:
    opened = open_model(source, trust, unroll=write is _write_coreml)  # coremltools fails on loops
    try:
        with quiet():
            write(opened, to, precision)
    except MobileDistillError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{source} cannot become {to.name}: {_reason(error)} Replace that layer, or leave the format out."
        ) from None


def _write_tflite(opened: Opened, path: Path, precision: Precision) -> None:
    from converters._tflite._export import _name_graph_tensors, _write_whole
    from converters._tflite._float16 import store_float16
    from converters._tflite._pack import pack_model
    from converters._tflite._schema import parse
    from converters._tflite._slim import slim

    tf = tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, signatures={"main": opened.function.get_concrete_function()})
        written = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["main"]).convert()
    model = parse(written, "what TensorFlow wrote")
    _name_graph_tensors(model)
    if precision == "float16":
        store_float16(model)
    slim(model)
    _write_whole(path, pack_model(model))


def _write_onnx(opened: Opened, path: Path, precision: Precision) -> None:
    from converters._onnx._export import _name_ends, _replace_file
    from converters._onnx._float16 import store_float16
    from converters._onnx._libraries import onnx_library
    from converters._onnx._slim import slim

    onnx = onnx_library()
    try:
        from tf2onnx.convert import from_function
    except ImportError as error:
        raise MissingExtraError("tf2onnx", "tensorflow") from error
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    _teach_tf2onnx_erfc()
    patch_tf2onnx()  # as Keras does before it calls tf2onnx, which speaks to NumPy 1
    model, _ = from_function(opened.function, list(opened.specs), opset=_OPSET)
    _name_ends(model.graph, [spec.name for spec in opened.specs], _in_tensorflows_order(opened))
    if precision == "float16":
        store_float16(model)
    slim(model)
    onnx.checker.check_model(model)
    _replace_file(path, model.SerializeToString())


def _write_coreml(opened: Opened, path: Path, precision: Precision) -> None:
    from converters._coreml._library import coremltools
    from converters._coreml._package import replacing
    from converters._coreml._slim import slim

    ct = coremltools()
    _teach_coremltools_erfc()
    function = opened.function.get_concrete_function()
    model = ct.convert(
        [function],
        source="tensorflow",
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT16 if precision == "float16" else ct.precision.FLOAT32,
        skip_model_load=True,
    )
    spec = model.get_spec()
    for name, tensor in function.structured_outputs.items():
        ct.utils.rename_feature(spec, tensor.op.name, name)
    with replacing(path) as aside:
        ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True).save(str(aside))
        slim(aside)


def _teach_coremltools_erfc() -> None:
    """Keras writes an exact GELU with erfc(x), which is 1 - erf(x); coremltools knows the latter alone."""
    from coremltools.converters.mil import Builder, register_tf_op

    def Erfc(context: Any, node: Any) -> None:
        erf = Builder.erf(x=context[node.inputs[0]])
        context.add(node.name, Builder.sub(x=1.0, y=erf, name=node.name))

    register_tf_op(Erfc, override=True)


def _teach_tf2onnx_erfc() -> None:
    """The same for tf2onnx."""
    import numpy as np
    from tf2onnx.handler import tf_op

    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            one = ctx.make_const(f"{node.name}_one", np.ones((), np.float32)).output[0]
            readers = ctx.find_output_consumers(node.output[0])
            node.type = "Erf"
            difference = ctx.make_node("Sub", [one, node.output[0]])
            for reader in readers:
                ctx.replace_input(reader, node.output[0], difference.output[0])

    tf_op("Erfc")(Erfc)


def _in_tensorflows_order(opened: Opened) -> list[str]:
    """Of a mapping TensorFlow returns the values in the alphabet's order."""
    return sorted(opened.outputs)


def _reason(error: Exception) -> str:
    """One line out of what an exporter said, with the operator's name where it tells one."""
    text = str(error)
    if found := re.search(r"(?:Flex|Custom) ops: ([\w, ]+)", text):
        return f"TFLite has no counterpart of {found[1].strip()}."
    if found := re.search(r"Unsupported ops: (.+)|function for op '(\w+)' not implemented", text):
        return f"there is no counterpart of {found[1] or found[2]}."
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return lines[0][:200].rstrip(". ") + "."
