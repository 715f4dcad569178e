"""Demonstrations of mobiledistill on real work, through its public API only."""
