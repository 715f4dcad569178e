"""TensorFlow's side: opens a model and gives it one shape of call. Runs in a process of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters._errors import MissingExtraError, ModelFileError
from converters._quiet import quiet

__all__ = ["InputSpec", "KerasHere", "Opened", "answer", "describe", "open_model"]

InputSpec = tuple[tuple[int, ...], str]
"""Shape, its leading axis a batch of one, and type."""


@dataclass(frozen=True)
class Opened:
    """A model, as it is and as exporters want it; both take its inputs in order.

    Attributes:
        ask: the model itself; returns its outputs in order.
        function: a ``tf.function`` whose weights are constants; returns its outputs by name.
        specs: of its inputs, in order; their names are the model's.
        outputs: names, in order.
    """

    ask: Callable[..., list[Any]]
    function: Any
    specs: tuple[Any, ...]
    outputs: tuple[str, ...]


def describe(path: Path, trust: bool) -> tuple[dict[str, InputSpec], tuple[str, ...]]:
    """Inputs and outputs of a model."""
    opened = open_model(path, trust)
    return {spec.name: (tuple(spec.shape), spec.dtype.name) for spec in opened.specs}, opened.outputs


def answer(path: Path, trust: bool, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """What a model answers to each sample."""
    return KerasHere(path, trust).run(inputs)


class KerasHere:
    """A model, open in this process.

    Attributes:
        inputs: shapes by name, the leading axis a batch of one.
        outputs: names in order.
    """

    def __init__(self, path: Path, trust: bool) -> None:
        self._opened = open_model(path, trust)
        self.inputs = {spec.name: tuple(spec.shape) for spec in self._opened.specs}
        self.outputs = self._opened.outputs

    def run(self, inputs: Mapping[str, NDArray[np.generic]], signature: str = "main") -> dict[str, NDArray[np.generic]]:
        """Answers sample by sample; ``signature`` is always ``main``."""
        with quiet():
            tf = tensorflow()
            specs = self._opened.specs
            answers = [
                self._opened.ask(*(tf.constant(inputs[spec.name][sample : sample + 1]) for spec in specs))
                for sample in range(len(next(iter(inputs.values()))))
            ]
        columns = zip(*answers, strict=True)
        return {
            name: np.concatenate([one.numpy() for one in column])
            for name, column in zip(self._opened.outputs, columns, strict=True)
        }


def open_model(path: Path, trust: bool, *, unroll: bool = False) -> Opened:
    """Opens a .keras file in Keras's safe mode, or a SavedModel that is trusted.

    Args:
        path: the file or folder.
        trust: whether a SavedModel may be opened.
        unroll: whether the recurrent layers of a .keras file are written out step by step.
    """
    try:
        with quiet():
            return _open_keras(path, unroll) if path.suffix == ".keras" else _open_saved_model(path, trust)
    except (ModelFileError, MissingExtraError):
        raise
    except Exception as error:
        said = (" ".join(str(error).split())[:200] or type(error).__name__).rstrip(".")
        if path.is_dir():
            raise ModelFileError(f"{path} cannot be opened by TensorFlow ({said}); export it anew.") from None
        raise ModelFileError(
            f"{path} cannot be opened by Keras in safe mode ({said}); a model with code of its own is exported as a"
            " SavedModel with model.export."
        ) from None


def _open_keras(path: Path, unroll: bool) -> Opened:
    tf = tensorflow()
    import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise ModelFileError(f"{path} does not say what it reads; build the model on keras.Input, or use model.export.")
    for layer in model._flatten_layers():
        if unroll and isinstance(layer, keras.layers.RNN):
            layer.unroll = True
    specs = _specs(path, [(tensor.name, tensor.shape, tensor.dtype) for tensor in inputs])
    structure = inputs[0] if isinstance(model, keras.Sequential) else model.input
    answered = model.compute_output_spec(structure)
    if isinstance(answered, dict):
        names = list(answered)
    else:
        names = list(getattr(model, "output_names", None) or [model.layers[-1].name])

    def call(*values: Any) -> list[Any]:
        returned = model(keras.tree.pack_sequence_as(structure, values), training=False)
        return [returned[name] for name in names] if isinstance(returned, dict) else keras.tree.flatten(returned)

    return _freeze(tf, call, specs, names)


def _open_saved_model(path: Path, trust: bool) -> Opened:
    if not trust:
        raise ModelFileError(f"{path} is a SavedModel, which can run code; it is opened only if you trust it.")
    tf = tensorflow()
    loaded = tf.saved_model.load(str(path))
    if not loaded.signatures:
        raise ModelFileError(f"{path} has no signatures; export it with model.export.")
    served = "serving_default" if "serving_default" in loaded.signatures else next(iter(loaded.signatures))
    _, wanted = loaded.signatures[served].structured_input_signature
    specs = _specs(path, [(name, spec.shape, spec.dtype.name) for name, spec in wanted.items()])
    names = list(loaded.signatures[served].structured_outputs)

    def call(*values: Any) -> list[Any]:
        returned = loaded.signatures[served](**dict(zip(wanted, values, strict=True)))
        return [returned[name] for name in names]

    return _freeze(tf, call, specs, names)


def _specs(path: Path, inputs: Sequence[tuple[str, Any, str]]) -> tuple[Any, ...]:
    """What one sample looks like; only the batch may be open."""
    tf = tensorflow()
    names = _spelled([name for name, _, _ in inputs])
    specs = []
    for name, (_, shape, dtype) in zip(names, inputs, strict=True):
        sizes = list(shape)
        if not sizes or sizes[0] not in (None, 1) or None in sizes[1:]:
            raise ModelFileError(
                f"{path} reads {name!r} of shape {tuple(sizes)}, but files answer one sample of a fixed size: build it"
                " with keras.Input(shape=...) and all sizes, the batch apart."
            )
        specs.append(tf.TensorSpec((1, *sizes[1:]), dtype, name=name))
    return tuple(specs)


def _spelled(names: Sequence[str]) -> list[str]:
    """Names as every format can spell them, each different."""
    spelled: list[str] = []
    for name in names:
        word = re.sub(r"\W", "_", name)
        word = word if re.match(r"[A-Za-z_]", word) else f"_{word}"
        spelled.append(f"{word}_{len(spelled)}" if word in spelled else word)
    return spelled


def _freeze(tf: Any, call: Callable[..., list[Any]], specs: tuple[Any, ...], names: Sequence[str]) -> Opened:
    """Weights become constants, for converters would take variables for state."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    outputs = tuple(_spelled(names))
    traced = tf.function(call, input_signature=specs).get_concrete_function()
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False, aggressive_inlining=True)

    def main(*values: Any) -> dict[str, Any]:
        return dict(zip(outputs, frozen(*values), strict=True))

    return Opened(call, tf.function(main, input_signature=specs), specs, outputs)


def tensorflow() -> Any:
    """The module ``tensorflow``, on the processor alone, without a word.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        with quiet():
            import tensorflow
    except ImportError as error:
        raise MissingExtraError("tensorflow", "tensorflow") from error
    return tensorflow
