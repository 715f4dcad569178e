"""Pruning: what hangs together, what matters, and how to cut the rest away."""

from mobiledistill.prune._blocks import residual_blocks, without_blocks
from mobiledistill.prune._groups import (
    ChannelGroup,
    LayerShape,
    Run,
    Trials,
    channel_groups,
    cut,
    importance,
    layer_shapes,
)

__all__ = [
    "ChannelGroup",
    "LayerShape",
    "Run",
    "Trials",
    "channel_groups",
    "cut",
    "importance",
    "layer_shapes",
    "residual_blocks",
    "without_blocks",
]
