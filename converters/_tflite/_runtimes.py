"""Which operators, in which versions, an older runtime knows."""

from __future__ import annotations

from typing import Any

from converters._details import Runtime
from converters._errors import ConversionError
from converters._tflite._schema import operator_name, schema

__all__ = ["NEWEST", "demand_runtime"]

_NEWEST_IN_2_14 = {
    1: """
        ADD_N ATAN2 BITCAST BITWISE_XOR BROADCAST_ARGS CEIL CONV_3D CONV_3D_TRANSPOSE COS CUMSUM
        DYNAMIC_UPDATE_SLICE ELU EXPAND_DIMS FLOOR HARD_SWISH IF L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOG
        LOGICAL_AND LOGICAL_NOT LOGICAL_OR MATRIX_DIAG MATRIX_SET_DIAG NEG NON_MAX_SUPPRESSION_V4
        NON_MAX_SUPPRESSION_V5 ONE_HOT POW PRELU RANK REDUCE_ALL REDUCE_ANY RELU_0_TO_1 RELU_N1_TO_1 RESHAPE
        REVERSE_SEQUENCE RIGHT_SHIFT ROUND SCATTER_ND SEGMENT_SUM SHAPE SIN SQRT SQUARE UNSORTED_SEGMENT_MAX
        UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_SUM WHILE ZEROS_LIKE
    """,
    2: """
        DEPTH_TO_SPACE DIV EXP FLOOR_MOD GELU GREATER L2_NORMALIZATION LEAKY_RELU LESS_EQUAL LOG_SOFTMAX RANGE
        REDUCE_PROD RSQRT SELECT_V2 SIGN SPACE_TO_DEPTH SPLIT_V SQUARED_DIFFERENCE SQUEEZE SUM WHERE
    """,
    3: """
        ARG_MAX ARG_MIN AVERAGE_POOL_2D BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN BROADCAST_TO
        EMBEDDING_LOOKUP FLOOR_DIV GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D MEAN MIRROR_PAD NOT_EQUAL QUANTIZE
        REDUCE_MAX REDUCE_MIN RELU RELU6 REVERSE_V2 RNN SOFTMAX SPARSE_TO_DENSE TANH TILE TOPK_V2
        UNIDIRECTIONAL_SEQUENCE_RNN
    """,
    4: """
        BATCH_MATMUL BATCH_TO_SPACE_ND CONCATENATION EQUAL FILL GATHER_ND LSTM MAXIMUM MINIMUM PACK PAD PADV2
        RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SELECT SPACE_TO_BATCH_ND SPLIT SVDF TRANSPOSE_CONV
        UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK
    """,
    5: """
        ABS ADD CAST DEQUANTIZE SUB
    """,
    6: """
        GATHER SLICE TRANSPOSE
    """,
    7: """
        CONV_2D DEPTHWISE_CONV_2D MUL
    """,
    8: """
        STRIDED_SLICE
    """,
    10: """
        FULLY_CONNECTED
    """,
}
"""The newest version of each operator; tests/converters/tflite/test_runtimes.py asks tflite-runtime 2.14 itself."""

NEWEST: dict[Runtime, dict[str, int]] = {
    "2.14": {name: version for version, names in _NEWEST_IN_2_14.items() for name in names.split()}
}


def demand_runtime(model: Any, runtime: Runtime) -> None:
    """Refuses a model that a runtime cannot load, and notes in it which runtime it is for.

    Raises:
        ConversionError: names the operators, each with its version.
    """
    known = NEWEST[runtime]
    wrong = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            name, version = operator_name(model, operator), model.operatorCodes[operator.opcodeIndex].version
            if version > known.get(name, 0):
                wrong[f"{name} {version}"] = f"{name} up to {known[name]}" if name in known else f"no {name}"
    if wrong:
        raise ConversionError(
            f"TFLite {runtime} cannot run {', '.join(sorted(wrong))} (it has {', '.join(sorted(wrong.values()))}):"
            " replace that part of the module, or leave runtime out."
        )
    buffer, note = schema().BufferT(), schema().MetadataT()
    buffer.data = f"{runtime}.0".encode().ljust(16, b"\0")  # 16 bytes, as TensorFlow's own tools write it
    model.buffers.append(buffer)
    note.name, note.buffer = "min_runtime_version", len(model.buffers) - 1
    model.metadata = [note]
