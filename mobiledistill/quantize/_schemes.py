"""How a student's numbers are stored: typed wishes, one class a scheme."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from converters import InputError

__all__ = ["Fp16", "Int4", "Int8", "Int8Or4", "Mixed", "Palette", "Scheme", "WeightOnly"]


@dataclass(frozen=True)
class Int8:
    """Weights and activations in 8-bit integers; accumulators and biases in 32.

    You gain files of a quarter of the size and integer kernels; you lose a little accuracy, most of which
    quantization-aware training wins back. Weights are symmetric with one scale per output channel (-127..127),
    activations affine with one scale per tensor (Jacob et al. 2018); all scales are learned (LSQ, Esser et al. 2020).

    Args:
        percentile: activation ranges start at this percentile of the calibration values, 50 to 100. Below 100 it
            ignores rare outliers, which would cost resolution everywhere else. None: each range is the one that rounds
            the values with the least squared error.
        correct_biases: after calibration, takes the mean shift that rounded weights bring out of each layer's bias
            (Nagel et al. 2019): for quantization without training, where it helps some networks and harms none much.
    """

    percentile: float | None = 99.99
    correct_biases: bool = False

    bytes_per_weight = 1.0

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)


@dataclass(frozen=True)
class Int4(Int8):
    """As ``Int8``, with the weights of layers in 4 bits (-7..7), two in a byte; activations stay at 8, tables too.

    You gain half the bytes of the weights, so twice as many fit into a budget, which small students gain more from
    than they lose in bits once they are trained. You lose speed in TFLite: XNNPACK leaves such convolutions to the
    slower kernels beside it (6 times slower on a small network on x86). ONNX files, from opset 21 on, are unpacked on
    loading and run as those of 8 bits do; Core ML has them from iOS 18 on.
    """

    bytes_per_weight = 0.5


@dataclass(frozen=True)
class Fp16:
    """Weights stored in 16-bit floats: half the bytes, no retraining, no integer kernels."""

    bytes_per_weight = 2.0


@dataclass(frozen=True)
class WeightOnly:
    """Weights in integers of 8 bits or less, unpacked to floats where they are read; activations stay float.

    You gain bytes, almost without loss in 8 bits, and need no calibration; you gain no integer kernels. Each output
    channel has a scale, or each block of a row, which 4 bits often need (a scale costs 4 bytes). Two bits are ternary
    weights, -1, 0 and 1 times the scale (Li and Liu 2016), one bit is their signs (Rastegari et al. 2016): both have to
    be trained, which ``compress`` does. Layers of less than 256 weights stay float.

    Args:
        bits: 8, 4, 2 or 1. Below 8, Core ML has them from iOS 18 on and ONNX from opset 21 on, with 2 and 1 from 25
            on; in TFLite layers of 4 bits leave XNNPACK and run several times slower than floats, and 2 and 1 need
            LiteRT 2. TFLite and ONNX store signs in 2 bits, which a store's compression brings back to about one.
        block: of a linear layer or a table, how many weights of a row share a scale, such as 32; rows of another
            length share one. TFLite has no blocks, Core ML has them from iOS 18 on.
    """

    bits: int = 8
    block: int | None = None

    def __post_init__(self) -> None:
        if self.bits not in (1, 2, 4, 8):
            raise InputError(f"WeightOnly has 1, 2, 4 or 8 bits, but got {self.bits!r}; for others take a Palette.")
        if self.block is not None and self.block < 2:
            raise InputError(f"block must be 2 or more, 32 is usual, but got {self.block!r}.")

    @property
    def bytes_per_weight(self) -> float:
        """As stored, scales of blocks included."""
        return max(2, self.bits) / 8 + (4 / self.block if self.block else 0)


@dataclass(frozen=True)
class Palette:
    """Weights drawn from a table of few values a layer (k-means; Han et al. 2016); activations stay float.

    You gain down to 2 bits a weight in Core ML, on every target; values lie where weights are dense, so 4 bits lose
    less than 4-bit integers do. Tables learn on under training, which value a weight takes does not. ONNX stores 2, 4
    and 8 bits; TFLite would look every weight up on every call, and is refused. Weights that are zero, as
    ``prune.sparsify`` leaves them, stay zero: the table has an entry for them.

    Args:
        bits: of an index: 2, 4, 6 or 8.
        values: how many values are used, 2 to ``2 ** bits``; fewer make no smaller file, but a smaller archive
            (``pack``). None: all.
    """

    bits: int = 4
    values: int | None = None

    def __post_init__(self) -> None:
        if self.bits not in (2, 4, 6, 8):
            raise InputError(f"A Palette has 2, 4, 6 or 8 bits, but got {self.bits!r}.")
        if self.values is not None and not 2 <= self.values <= 2**self.bits:
            raise InputError(
                f"values must be 2 to {2**self.bits}, which {self.bits} bits tell apart, but got {self.values!r}."
            )

    @property
    def bytes_per_weight(self) -> float:
        """As stored."""
        return self.bits / 8


LayerScheme = Int8 | WeightOnly | Palette | None
"""What one layer can be stored as; None: floats."""


@dataclass(frozen=True)
class Mixed:
    """Another scheme for some layers.

    Example:
        >>> Mixed(Int8(), {"head.*": WeightOnly(8), "stem": None}).of("head.scores")
        WeightOnly(bits=8, block=None)

    Args:
        rest: of all layers that no pattern names.
        layers: by the layer's path in the module, ``*`` and ``?`` allowed; the first that fits counts. None: float.
    """

    rest: LayerScheme = field(default_factory=Int8)
    layers: Mapping[str, LayerScheme] = field(default_factory=dict)

    def of(self, path: str) -> LayerScheme:
        """The scheme of the layer at a path."""
        return next((scheme for pattern, scheme in self.layers.items() if fnmatchcase(path, pattern)), self.rest)

    @property
    def has_integer_activations(self) -> bool:
        """Whether any layer reads integers."""
        return any(isinstance(scheme, Int8) for scheme in (self.rest, *self.layers.values()))

    @property
    def percentile(self) -> float | None:
        """Of the activations' grids: what the rest asks for, else the first layer that has an opinion."""
        return self._int8.percentile

    @property
    def correct_biases(self) -> bool:
        """Likewise."""
        return self._int8.correct_biases

    @property
    def _int8(self) -> Int8:
        return next((scheme for scheme in (self.rest, *self.layers.values()) if isinstance(scheme, Int8)), Int8())

    @property
    def bytes_per_weight(self) -> float:
        """Of the rest."""
        return 4.0 if self.rest is None else self.rest.bytes_per_weight


@dataclass(frozen=True)
class Int8Or4:
    """``Int8`` or ``Int4`` for each layer, as the search finds best.

    You gain what few bits bring where they do no harm. The search tries each layer in 4 bits, weighs that against
    fewer channels, and keeps 8 where they are worth their bytes. Where a limit on latency is set, all layers stay at 8,
    whose kernels are the fast ones; so do the members of a family, whose layers are not known one by one.

    Args:
        percentile: as of ``Int8``.
    """

    percentile: float | None = 99.99

    bytes_per_weight = 1.0

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)

    def mixed(self, narrow: Collection[str]) -> Mixed:
        """The scheme with the layers at these paths in 4 bits."""
        return Mixed(Int8(self.percentile), dict.fromkeys(narrow, Int4(self.percentile)))


def _check_percentile(percentile: float | None) -> None:
    if percentile is not None and not 50 <= percentile <= 100:
        raise InputError(f"percentile must be 50 to 100, or None, but got {percentile!r}; 99.99 is usual.")


Scheme = LayerScheme | Mixed | Int8Or4 | Fp16
"""None stores 32-bit floats."""
