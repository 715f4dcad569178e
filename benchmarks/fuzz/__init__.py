"""Mutated real files for every reader of ours: none may crash it, stall it or fill the memory."""

from benchmarks.fuzz._readers import READERS, Reader

__all__ = ["READERS", "Reader"]
