"""How long and how hard to train."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from converters import InputError
from mobiledistill.prune import Importance, Taylor

__all__ = ["Care", "Recipe", "Schedule"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training: AdamW, the rate rising over the first epochs and falling to zero on a cosine.

    Args:
        epochs: passes over the training batches; 0 trains nothing.
        learning_rate: the highest rate.
        weight_decay: decoupled weight decay.
        warmup_epochs: how long the rate rises, in epochs.
        average: the weights kept are a running mean that gives each step's weights the share ``1 - average``, such as
            0.999 (Polyak and Juditsky 1992); smoother and often better where steps are many. 0 keeps the last weights.
        accumulate: batches to one update; their gradients are averaged, so that memory holds a part of what it sees.
        patience: epochs without a better validation score after which it stops, and keeps the best weights; None:
            trains to the end and keeps the last.
        precision: ``"bf16"`` or ``"fp16"`` for mixed precision, ``"no"`` for 32 bits; None: what ``accelerate launch``
            was told, else 32 bits.
    """

    epochs: int
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup_epochs: float = 1.0
    average: float = 0.0
    accumulate: int = 1
    patience: int | None = None
    precision: Literal["no", "bf16", "fp16"] | None = None

    def stretched(self, factor: float) -> Recipe:
        """The same training over ``factor`` times the epochs."""
        return replace(self, epochs=round(self.epochs * factor))

    def __post_init__(self) -> None:
        if self.epochs < 0 or not self.learning_rate > 0:
            raise InputError(f"A Recipe needs epochs >= 0 and learning_rate > 0, but got {self!r}.")
        if not 0 <= self.average < 1:
            raise InputError(f"average must lie in 0..1, 1 excluded, but got {self.average!r}; 0.999 is usual.")
        if self.accumulate < 1 or (self.patience is not None and self.patience < 0):
            raise InputError(f"A Recipe needs accumulate >= 1 and patience >= 0, but got {self!r}.")
        if self.precision not in (None, "no", "bf16", "fp16"):
            raise InputError(f"precision must be 'no', 'bf16' or 'fp16', but got {self.precision!r}.")


@dataclass(frozen=True, kw_only=True)
class Care:
    """What the doctor may do by itself; what it may not, it says.

    Example:
        >>> care = Care(change_loss=False)  # temperature and weights stay as they were chosen

    Args:
        rollbacks: how often a training that runs away or learns nothing may start over from its last good epoch with
            a tenth of the rate.
        change_loss: whether a temperature may be lowered, or a part left out whose answers are wrong.
        skip_batches: how many batches that are not finite may be left out of an epoch.
    """

    rollbacks: int = 2
    change_loss: bool = True
    skip_batches: int = 3

    def __post_init__(self) -> None:
        if self.rollbacks < 0 or self.skip_batches < 0:
            raise InputError(f"rollbacks and skip_batches must be 0 or more, but got {self!r}.")

    @classmethod
    def look_only(cls) -> Care:
        """Says what it sees and touches nothing."""
        return cls(rollbacks=0, change_loss=False, skip_batches=0)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How ``compress`` spends its training.

    Args:
        importance: which channels of a group leave first, a criterion of ``mobiledistill.prune``.
        cut_steps: in how many steps channels leave; after each but the last the rest is trained a little.
        cut: the short training between two cuts.
        distill: the long training in floats, after the last cut.
        quantize: the training with rounded weights and activations, at the end.
        stretch: a student that costs less to run trains longer, since small ones need it: its epochs are multiplied
            by the square root of the multiply-accumulates saved, at most by this factor.
        quick: the short training of a student that only shows how well it learns beside another one, or whether a
            budget can work at all.
        rounds: how many plans of a kind are tried on untrained files before one is trained; 0: the first that is
            predicted to fit is trained at once, which saves its files where the budget is generous.
        seed: of everything random.
        care: what the doctor, who watches every training, may do by itself.
    """

    importance: Importance = field(default_factory=Taylor)
    cut_steps: int = 3
    cut: Recipe = field(default_factory=lambda: Recipe(epochs=2, learning_rate=1e-3, warmup_epochs=0.5))
    distill: Recipe = field(default_factory=lambda: Recipe(epochs=14))
    quantize: Recipe = field(default_factory=lambda: Recipe(epochs=4, learning_rate=5e-4, weight_decay=0.0))
    stretch: float = 2.5
    quick: Recipe = field(default_factory=lambda: Recipe(epochs=4))
    rounds: int = 6
    seed: int = 0
    care: Care = Care()

    def __post_init__(self) -> None:
        if not isinstance(self.importance, Importance):
            raise InputError(f"importance must be a criterion, such as Taylor(), but got {self.importance!r:.60}.")
        if self.cut_steps < 1 or not self.stretch >= 1:
            raise InputError(f"A Schedule needs cut_steps and stretch of 1 or more, but got {self!r}.")
        if self.rounds < 0:
            raise InputError(f"A Schedule needs rounds of 0 or more, but got {self!r}.")
