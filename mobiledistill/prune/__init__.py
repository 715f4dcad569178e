"""Pruning: what hangs together, what matters, and how to cut the rest away."""

from mobiledistill.prune._blocks import residual_blocks, without_blocks
from mobiledistill.prune._graph import Run, check_layers_called, evaluating
from mobiledistill.prune._groups import (
    ChannelGroup,
    FixedGroup,
    LayerShape,
    Trials,
    channel_groups,
    cut,
    examined_groups,
    fixed_groups,
    layer_shapes,
)
from mobiledistill.prune._importance import (
    Activation,
    BatchNormScale,
    Fisher,
    Importance,
    Magnitude,
    Taylor,
    importance,
)
from mobiledistill.prune._shared import share_layers
from mobiledistill.prune._sparse import (
    Sparsity,
    follow,
    hold_zeros,
    is_masked,
    layer_shares,
    sparsify,
    without_masks,
    zero_shares,
)

__all__ = [
    "Activation",
    "BatchNormScale",
    "ChannelGroup",
    "Fisher",
    "FixedGroup",
    "Importance",
    "LayerShape",
    "Magnitude",
    "Run",
    "Sparsity",
    "Taylor",
    "Trials",
    "channel_groups",
    "check_layers_called",
    "cut",
    "evaluating",
    "examined_groups",
    "fixed_groups",
    "follow",
    "hold_zeros",
    "importance",
    "is_masked",
    "layer_shapes",
    "layer_shares",
    "residual_blocks",
    "share_layers",
    "sparsify",
    "without_blocks",
    "without_masks",
    "zero_shares",
]
