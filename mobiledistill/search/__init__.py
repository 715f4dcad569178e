"""The search: what a network costs, and which plan loses least within every limit."""

from mobiledistill.search._allocate import allocate
from mobiledistill.search._cost import Amounts, CostModel, Target, amounts

__all__ = ["Amounts", "CostModel", "Target", "allocate", "amounts"]
