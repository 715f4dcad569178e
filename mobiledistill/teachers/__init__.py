"""Teachers: anything that answers a batch."""

from mobiledistill.teachers._any import Teachers, as_teacher
from mobiledistill.teachers._base import Answers, Teacher
from mobiledistill.teachers._cached import Cached
from mobiledistill.teachers._ensemble import Ensemble, Specialist
from mobiledistill.teachers._files import FileTeacher
from mobiledistill.teachers._torch import TorchTeacher

__all__ = [
    "Answers",
    "Cached",
    "Ensemble",
    "FileTeacher",
    "Specialist",
    "Teacher",
    "Teachers",
    "TorchTeacher",
    "as_teacher",
]
