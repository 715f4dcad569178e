"""The search: what a network costs, and which plan loses least within every limit."""

from mobiledistill.search._allocate import allocate
from mobiledistill.search._cost import LATENCIES, Amounts, CostModel, Target, amounts

__all__ = ["LATENCIES", "Amounts", "CostModel", "Target", "allocate", "amounts"]
