"""A lesson: one batch in, its loss out; what the training loop trains, whoever learns from whom."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill._layers import layer_shapes, run_with_layers
from mobiledistill._student import as_tuple
from mobiledistill._task import Batch, Task
from mobiledistill.distill import HardTargets, Loss, Pair, Step
from mobiledistill.prune import follow
from mobiledistill.teachers import Answers, Teacher

__all__ = ["Lesson"]

_LOOKED_AT = 16  # batches, for the signatures that training asks


class Lesson(nn.Module):
    """Students of all signatures, what they learn from, and what the losses learn with them.

    Args:
        task: what they learn.
        students: the module behind each signature.
        teacher: whom they learn from; None: from the task alone.
        loss: how; its parts that need a teacher cannot do without one.

    Attributes:
        teacher_s: seconds that the teacher has taken so far.

    Raises:
        InputError: the loss wants layers that there are not.
    """

    def __init__(
        self, task: Task, students: Mapping[str, nn.Module], teacher: Teacher | None = None, loss: Loss | None = None
    ) -> None:
        super().__init__()
        self.students = nn.ModuleDict(dict(students))
        self._task = task
        self._teacher = (teacher,)  # in a tuple, or its weights would be taken for some that learn
        self.teacher_s = 0.0
        self.losses = self._bound(loss or HardTargets())

    def forward(self, batch: Batch, progress: float = 0.0) -> Tensor:
        """The loss of a batch.

        Args:
            batch: what the student sees.
            progress: how much of the training is over, 0 to 1; masks within the students follow it.
        """
        follow(self.students, progress)
        step = self._step(batch, progress, batch.inputs, batch.teacher_inputs or batch.inputs)
        with _full_precision(batch.inputs):
            loss: Tensor = self.losses[batch.signature](step)
        return loss

    def answers(self, batch: Batch) -> Mapping[str, Tensor]:
        """The teacher's answers to a batch; nothing without a teacher."""
        return self._ask(batch.teacher_inputs or batch.inputs, batch.signature, ()).outputs

    def _step(
        self, batch: Batch, progress: float, inputs: Mapping[str, Tensor], teacher_inputs: Mapping[str, Tensor]
    ) -> Step:
        signature = self._task.signatures[batch.signature]
        loss = self.losses[batch.signature]
        returned, layers = run_with_layers(
            self.students[batch.signature], list(inputs.values()), getattr(loss, "student_layers", ())
        )
        student = _whole(dict(zip(signature.outputs, as_tuple(returned), strict=True)))
        answers = self._ask(teacher_inputs, batch.signature, getattr(loss, "teacher_layers", ()))
        hard_of = partial(_hard, self._task, batch)
        with _full_precision(batch.inputs):
            hard = hard_of(student)
        return Step(
            student=student,
            teacher=answers.outputs,
            outputs=signature.outputs,
            hard=hard,
            targets=batch.targets,
            inputs=inputs,
            student_layers=_whole(layers),
            teacher_layers=answers.layers,
            progress=progress,
            ask=partial(self._step_at, batch, progress),
            hard_of=hard_of,
        )

    def _step_at(self, batch: Batch, progress: float, inputs: Mapping[str, Tensor]) -> Step:
        """The step that other inputs would have been."""
        if batch.teacher_inputs is not None:
            raise InputError(
                "This loss asks the teacher about changed inputs, but here teacher and student read different ones:"
                " take a loss that leaves inputs as they are."
            )
        return self._step(batch, progress, inputs, inputs)

    def _ask(self, inputs: Mapping[str, Tensor], signature: str, layers: tuple[str, ...]) -> Answers:
        teacher = self._teacher[0]
        if teacher is None:
            return Answers({})
        began = time.perf_counter()
        with _full_precision(inputs):  # a teacher says itself what it computes in
            answers = teacher.answers(self._task, inputs, signature, layers)
        self.teacher_s += time.perf_counter() - began
        return answers

    def _bound(self, loss: Loss) -> nn.ModuleDict:
        """The loss for each signature; layers are looked at in those alone that training asks."""
        asked: set[str] = set()
        if loss.reads_layers:
            asked = {batch.signature for batch in islice(self._task.train_batches(0), _LOOKED_AT)}
        rest = loss.of_outputs() or HardTargets() if loss.reads_layers else loss
        return nn.ModuleDict(
            {name: (loss if name in asked else rest).bind(self._pair(name, name in asked)) for name in self.students}
        )

    def _pair(self, name: str, looking: bool) -> Pair:
        signature, student, teacher = self._task.signatures[name], self.students[name], self._teacher[0]
        if not looking:
            return Pair({}, {}, signature.outputs)
        place = next((p.device for p in student.parameters()), torch.device("cpu"))
        examples = [torch.from_numpy(v[:1].copy()).to(place) for v in self._task.calibration_inputs(name).values()]
        return Pair(
            layer_shapes(student, examples),
            {} if teacher is None else teacher.layer_shapes(self._task, name),
            signature.outputs,
        )


def _full_precision(inputs: Mapping[str, Tensor]) -> torch.autocast:
    """Losses are computed in 32 bits whatever the student computes in: softened answers differ in the third digit."""
    return torch.autocast(next(iter(inputs.values())).device.type, enabled=False)


def _whole(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    half = (torch.bfloat16, torch.float16)
    return {name: value.float() if value.dtype in half else value for name, value in values.items()}


def _hard(task: Task, batch: Batch, outputs: Mapping[str, Tensor]) -> Tensor:
    if not batch.labelled:
        return torch.stack([value.sum() * 0 for value in outputs.values() if value.is_floating_point()]).sum()
    return task.loss(outputs, batch)
