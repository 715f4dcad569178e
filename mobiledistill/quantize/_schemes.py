"""How a student's numbers are stored: typed wishes, one class a scheme."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fp16", "Int8", "Scheme"]


@dataclass(frozen=True)
class Int8:
    """Weights and activations in 8-bit integers; accumulators and biases in 32.

    You gain files of a quarter of the size and integer kernels; you lose a little accuracy, most of which
    quantization-aware training wins back. Weights are symmetric with one scale per output channel (-127..127),
    activations affine with one scale per tensor (Jacob et al. 2018); all scales are learned (LSQ, Esser et al. 2020).

    Args:
        percentile: activation ranges start at this percentile of the calibration values, 50 to 100. Below 100 it
            ignores rare outliers, which would cost resolution everywhere else.
    """

    percentile: float = 99.99

    bytes_per_weight = 1.0


@dataclass(frozen=True)
class Fp16:
    """Weights stored in 16-bit floats: half the bytes, no retraining, no integer kernels."""

    bytes_per_weight = 2.0


Scheme = Int8 | Fp16 | None
"""None stores 32-bit floats."""
