"""Distillation losses: add them with ``+``, scale them with ``*``."""

from mobiledistill.distill._base import Loss, Step
from mobiledistill.distill._soft_targets import HardTargets, SoftTargets

__all__ = ["HardTargets", "Loss", "SoftTargets", "Step"]
