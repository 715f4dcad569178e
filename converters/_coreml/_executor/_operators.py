"""All operators that the executor knows, one file per family."""

from __future__ import annotations

from converters._coreml._executor._activation import ACTIVATION
from converters._coreml._executor._arguments import Operator
from converters._coreml._executor._attention import ATTENTION
from converters._coreml._executor._constants import CONSTANTS
from converters._coreml._executor._convolution import CONVOLUTION
from converters._coreml._executor._elementwise import ELEMENTWISE
from converters._coreml._executor._indices import INDICES
from converters._coreml._executor._linear import LINEAR
from converters._coreml._executor._normalization import NORMALIZATION
from converters._coreml._executor._pooling import POOLING
from converters._coreml._executor._quantization import QUANTIZATION
from converters._coreml._executor._recurrent import RECURRENT
from converters._coreml._executor._reduction import REDUCTION
from converters._coreml._executor._resize import RESIZE
from converters._coreml._executor._shape import SHAPE
from converters._coreml._executor._softmax import SOFTMAX

__all__ = ["OPERATORS"]

OPERATORS: dict[str, Operator] = {
    **ACTIVATION,
    **ATTENTION,
    **CONSTANTS,
    **CONVOLUTION,
    **ELEMENTWISE,
    **INDICES,
    **LINEAR,
    **NORMALIZATION,
    **POOLING,
    **QUANTIZATION,
    **RECURRENT,
    **REDUCTION,
    **RESIZE,
    **SHAPE,
    **SOFTMAX,
}
