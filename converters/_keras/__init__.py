"""Keras models and SavedModels as sources, through the exporters that were made for them."""

from converters._keras._export import export_keras
from converters._keras._source import KerasModel, load_keras

__all__ = ["KerasModel", "export_keras", "load_keras"]
