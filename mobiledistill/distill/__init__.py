"""Distillation losses: add them with ``+``, scale them with ``*``, one after the other with ``then``."""

from mobiledistill.distill._adversarial import AdversarialExamples, Discriminator
from mobiledistill.distill._base import Bound, Loss, OutputLoss, Pair, Step
from mobiledistill.distill._data_free import imagined
from mobiledistill.distill._distributions import BatchDivergence, MeanDiscrepancy, SlicedWasserstein
from mobiledistill.distill._features import AttentionMaps, AttentionTransfer, Hints
from mobiledistill.distill._logits import SquaredLogits, StandardizedTargets
from mobiledistill.distill._mutual import MutualLearning
from mobiledistill.distill._relations import Angles, Correlations, Distances, Similarities
from mobiledistill.distill._sequences import BestPaths
from mobiledistill.distill._soft_targets import HardTargets, SoftTargets
from mobiledistill.distill._temperatures import AnnealedTargets, LearnedTemperature
from mobiledistill.distill._transfer import TransferSet
from mobiledistill.distill._weighing import AuxiliaryHead, LearnedWeights

__all__ = [
    "AdversarialExamples",
    "Angles",
    "AnnealedTargets",
    "AttentionMaps",
    "AttentionTransfer",
    "AuxiliaryHead",
    "BatchDivergence",
    "BestPaths",
    "Bound",
    "Correlations",
    "Discriminator",
    "Distances",
    "HardTargets",
    "Hints",
    "LearnedTemperature",
    "LearnedWeights",
    "Loss",
    "MeanDiscrepancy",
    "MutualLearning",
    "OutputLoss",
    "Pair",
    "Similarities",
    "SlicedWasserstein",
    "SoftTargets",
    "SquaredLogits",
    "StandardizedTargets",
    "Step",
    "TransferSet",
    "imagined",
]
