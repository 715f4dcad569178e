"""mobiledistill: neural networks that fit on phones.

A trained model, data and a budget in; out come the files, in TFLite, Core ML and ONNX, that keep it when measured.
"""

from typing import TYPE_CHECKING, Any

from converters import (
    ONNX,
    ConversionError,
    CoreML,
    DeviceError,
    Image,
    InputError,
    KerasModel,
    MissingExtraError,
    MobileDistillError,
    ModelFileError,
    Parity,
    ParityError,
    Program,
    TFLite,
    TrainingError,
    convert,
    load,
    load_keras,
    load_program,
    verify,
)
from mobiledistill import distill, factorize, prune, quantize, teachers
from mobiledistill._advise import Advice, PairAdvice, advise
from mobiledistill._budget import Budget, Limit
from mobiledistill._compress import compress
from mobiledistill._demo import Answer, Demo, DemoRequest, DemoRun, DemoTask, TryOut, run_demo
from mobiledistill._plan import Plan
from mobiledistill._progress import Event, Progress
from mobiledistill._result import Artifact, BudgetError, CompressionResult, Ending, LimitCheck, TeacherFacts
from mobiledistill._schedule import Care, Recipe, Schedule
from mobiledistill._sweep import SweepResult, sweep
from mobiledistill._task import (
    Batch,
    Equipped,
    Head,
    Illustrated,
    Metric,
    Output,
    Picture,
    Predict,
    Score,
    Signature,
    Split,
    Task,
    TensorSpec,
)
from mobiledistill._teach import train_model
from mobiledistill._tensorboard import TensorBoard
from mobiledistill.archive import pack, unpack
from mobiledistill.train import Finding, Illness

if TYPE_CHECKING:
    from mobiledistill import devices
    from mobiledistill.devices import Measurement, calibrate, profile

__all__ = [
    "ONNX",
    "Advice",
    "Answer",
    "Artifact",
    "Batch",
    "Budget",
    "BudgetError",
    "Care",
    "CompressionResult",
    "ConversionError",
    "CoreML",
    "Demo",
    "DemoRequest",
    "DemoRun",
    "DemoTask",
    "DeviceError",
    "Ending",
    "Equipped",
    "Event",
    "Finding",
    "Head",
    "Illness",
    "Illustrated",
    "Image",
    "InputError",
    "KerasModel",
    "Limit",
    "LimitCheck",
    "Measurement",
    "Metric",
    "MissingExtraError",
    "MobileDistillError",
    "ModelFileError",
    "Output",
    "PairAdvice",
    "Parity",
    "ParityError",
    "Picture",
    "Plan",
    "Predict",
    "Program",
    "Progress",
    "Recipe",
    "Schedule",
    "Score",
    "Signature",
    "Split",
    "SweepResult",
    "TFLite",
    "Task",
    "TeacherFacts",
    "TensorBoard",
    "TensorSpec",
    "TrainingError",
    "TryOut",
    "advise",
    "calibrate",
    "compress",
    "convert",
    "devices",
    "distill",
    "factorize",
    "load",
    "load_keras",
    "load_program",
    "pack",
    "profile",
    "prune",
    "quantize",
    "run_demo",
    "sweep",
    "teachers",
    "train_model",
    "unpack",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Loads what measures on first use: the validation behind it would cost every import a tenth more."""
    if name not in ("Measurement", "calibrate", "devices", "profile"):
        raise AttributeError(f"module 'mobiledistill' has no attribute {name!r}")
    from importlib import import_module

    module = import_module("mobiledistill.devices")
    return module if name == "devices" else getattr(module, name)
