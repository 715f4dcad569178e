"""Pruning: what hangs together, what matters, and how to cut the rest away."""

from mobiledistill.prune._groups import ChannelGroup, LayerShape, Run, channel_groups, cut, importance, layer_shapes

__all__ = ["ChannelGroup", "LayerShape", "Run", "channel_groups", "cut", "importance", "layer_shapes"]
