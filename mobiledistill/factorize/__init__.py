"""Factorization: layers of a trained module as products of smaller ones."""

from mobiledistill.factorize._base import Cost, Factorization, FactorSite
from mobiledistill.factorize._kronecker import Kronecker
from mobiledistill.factorize._low_rank import LowRank
from mobiledistill.factorize._separable import Separable
from mobiledistill.factorize._tucker import Tucker

__all__ = ["Cost", "FactorSite", "Factorization", "Kronecker", "LowRank", "Separable", "Tucker"]
