"""Distillation losses: add them with ``+``, scale them with ``*``."""

from mobiledistill.distill._base import Bound, Loss, OutputLoss, Pair, Step
from mobiledistill.distill._distributions import BatchDivergence, MeanDiscrepancy, SlicedWasserstein
from mobiledistill.distill._logits import SquaredLogits, StandardizedTargets
from mobiledistill.distill._relations import Angles, Correlations, Distances, Similarities
from mobiledistill.distill._soft_targets import HardTargets, SoftTargets

__all__ = [
    "Angles",
    "BatchDivergence",
    "Bound",
    "Correlations",
    "Distances",
    "HardTargets",
    "Loss",
    "MeanDiscrepancy",
    "OutputLoss",
    "Pair",
    "Similarities",
    "SlicedWasserstein",
    "SoftTargets",
    "SquaredLogits",
    "StandardizedTargets",
    "Step",
]
