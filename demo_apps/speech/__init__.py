"""Speech: spoken digits by a network of a few kilobytes, and sentences from a stream (in ``sentences``)."""

from demo_apps.speech._augment import Augmentation
from demo_apps.speech._data import Dataset, SplitScheme, load_recordings
from demo_apps.speech._demo import demo
from demo_apps.speech._features import log_mel
from demo_apps.speech._recording import Recording
from demo_apps.speech._task import DigitsTask, digits
from demo_apps.speech._teacher import TEACHER_RECIPE, DigitsNet, digits_net

__all__ = [
    "TEACHER_RECIPE",
    "Augmentation",
    "Dataset",
    "DigitsNet",
    "DigitsTask",
    "Recording",
    "SplitScheme",
    "demo",
    "digits",
    "digits_net",
    "load_recordings",
    "log_mel",
]
