"""Soft targets: the student learns the teacher's whole answer, not only the right one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mobiledistill.distill._base import OutputLoss, Step, check_temperature, check_weights
from mobiledistill.distill._rows import answering, divergence

__all__ = ["HardTargets", "SoftTargets"]


@dataclass(frozen=True)
class HardTargets(OutputLoss):
    """The task's own loss on the true targets; no teacher."""

    def __call__(self, step: Step) -> Tensor:
        return step.hard


@dataclass(frozen=True)
class SoftTargets(OutputLoss):
    """``hard * task loss + soft * T^2 * divergence(teacher at T, student at T)`` (Hinton, Vinyals, Dean 2015).

    You gain what the teacher knows about how classes resemble each other; it helps most where data are few or the
    student is small, and little in short trainings. What ships always runs at temperature 1. Categorical outputs
    ``(batch, classes)`` take the Kullback-Leibler divergence of softened softmaxes, binary ones that of softened
    sigmoids, regression the squared error (where the temperature has no meaning). Tokens of a sequence and frames of
    CTC are categories at each place; places that an output's mask leaves out do not count, and states are not
    compared.

    Example:
        >>> loss = SoftTargets(temperature=20.0, hard=0.1, soft=0.9)  # the paper's classic mixture

    Args:
        temperature: divides logits before the softmax, above 0. Higher shows more of the small probabilities.
        hard: weight of the task's own loss, 0 or more.
        soft: weight of the teacher's answer, 0 or more. The factor T^2 keeps its gradients comparable at every T.

    Raises:
        InputError: an argument is out of range.
    """

    temperature: float = 4.0
    hard: float = 0.3
    soft: float = 0.7

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(hard=self.hard, soft=self.soft)

    @classmethod
    def classic(cls) -> SoftTargets:
        """The paper's mixture for MNIST and speech: ``0.1 hard + 0.9 soft`` at ``T = 20``.

        Made for teachers that are very sure; where the teacher errs a few percent, T between 2 and 8 does better.
        """
        return cls(temperature=20.0, hard=0.1, soft=0.9)

    def __call__(self, step: Step) -> Tensor:
        loss = self.hard * step.hard
        for name, head in answering(step):
            apart = divergence(step.student[name], step.teacher[name], head, self.temperature, step.mask(name))
            loss = loss + self.soft * apart
        return loss
