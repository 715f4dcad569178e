"""Teachers: anything that answers a batch."""

from mobiledistill.teachers._base import Answers, Teacher
from mobiledistill.teachers._cached import Cached
from mobiledistill.teachers._torch import TorchTeacher

__all__ = ["Answers", "Cached", "Teacher", "TorchTeacher"]
