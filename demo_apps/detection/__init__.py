"""Detection: blood cells in a photograph, from images with boxes to a network of half a megabyte."""

from demo_apps.detection._augment import Augmentation
from demo_apps.detection._average_precision import Difference, Matches, match, paired_difference
from demo_apps.detection._boxes import Detections, keep_best
from demo_apps.detection._data import Dataset, load_images
from demo_apps.detection._demo import TEACHER_RECIPE, demo, teacher_net
from demo_apps.detection._distill import TeachersBoxes
from demo_apps.detection._image import LabelledImage
from demo_apps.detection._network import Detector
from demo_apps.detection._task import CellsTask, cells, detect

__all__ = [
    "TEACHER_RECIPE",
    "Augmentation",
    "CellsTask",
    "Dataset",
    "Detections",
    "Detector",
    "Difference",
    "LabelledImage",
    "Matches",
    "TeachersBoxes",
    "cells",
    "demo",
    "detect",
    "keep_best",
    "load_images",
    "match",
    "paired_difference",
    "teacher_net",
]
