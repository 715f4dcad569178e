"""Keras models and SavedModels as sources, through the exporters that were made for them."""

from converters._keras._export import export_keras
from converters._keras._open import KerasHere
from converters._keras._source import KerasModel, check_keras, is_keras, load_keras

__all__ = ["KerasHere", "KerasModel", "check_keras", "export_keras", "is_keras", "load_keras"]
