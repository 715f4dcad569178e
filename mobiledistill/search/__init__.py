"""The search: what a network costs, and which plan loses least within every limit."""

from mobiledistill.search._allocate import Choice, allocate
from mobiledistill.search._cost import LATENCIES, Amounts, CostModel, Target, amounts
from mobiledistill.search._sensitivity import Sensitivity, Trial, sensitivity

__all__ = [
    "LATENCIES",
    "Amounts",
    "Choice",
    "CostModel",
    "Sensitivity",
    "Target",
    "Trial",
    "allocate",
    "amounts",
    "sensitivity",
]
