"""Low-bit numbers: how a student's weights and activations become integers."""

from mobiledistill.quantize._modules import KeepFloat
from mobiledistill.quantize._post_training import post_training
from mobiledistill.quantize._rewrite import calibrate, freeze, prepare
from mobiledistill.quantize._schemes import Fp16, Int4, Int8, Int8Or4, LayerScheme, Mixed, Palette, Scheme, WeightOnly

__all__ = [
    "Fp16",
    "Int4",
    "Int8",
    "Int8Or4",
    "KeepFloat",
    "LayerScheme",
    "Mixed",
    "Palette",
    "Scheme",
    "WeightOnly",
    "calibrate",
    "freeze",
    "post_training",
    "prepare",
]
