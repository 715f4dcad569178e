"""A plan: what becomes of every part of a model, as data that can be printed, saved, edited and applied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from converters import InputError

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What remains of a model.

    Attributes:
        channels: how many channels each group keeps, by the path of the first layer that writes them.
        original_channels: how many there were.
        dropped: paths of the blocks that are left out.
        ranks: of the products that stand for layers, by the layer's path.
        bits: bits a weight is stored in.
        layer_bits: of layers whose weights are stored in others, by the layer's path.
        width: where the student comes from a (width, depth) family, its width; else None.
        depth: likewise.

    Example:
        >>> plan = Plan(channels={"stem": 6}, original_channels={"stem": 32}, bits=8)
        >>> Plan.from_json(plan.to_json()) == plan
        True
    """

    channels: Mapping[str, int] = field(default_factory=dict)
    original_channels: Mapping[str, int] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)
    bits: int = 8
    layer_bits: Mapping[str, int] = field(default_factory=dict)
    width: int | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        chosen = [number for number in (self.width, self.depth) if number is not None]
        counts = (*self.channels.values(), *self.original_channels.values(), *self.ranks.values())
        numbers = (*counts, self.bits, *self.layer_bits.values(), *chosen)
        if wrong := [number for number in numbers if type(number) is not int]:
            raise InputError(f"The plan holds {wrong[0]!r:.60}, which is no whole number; write channels as numbers.")
        if wrong_paths := [path for path in self.dropped if type(path) is not str]:
            raise InputError(
                f"The plan drops {wrong_paths[0]!r:.60}, which is no path of a block; write paths as text."
            )
        object.__setattr__(self, "dropped", tuple(self.dropped))  # JSON has lists alone
        for path, bits in self.layer_bits.items():
            if bits not in (4, 8):
                raise InputError(f"The plan stores {path!r} in {bits} bits; integer kernels have weights of 4 or 8.")
        if unranked := [path for path, rank in self.ranks.items() if rank < 1]:
            raise InputError(
                f"The plan gives {unranked[0]!r} a product of rank {self.ranks[unranked[0]]}; a rank is 1 or more."
            )
        for name, kept in self.channels.items():
            most = self.original_channels.get(name)
            if most is None or not 1 <= kept <= most:
                raise InputError(f"The plan keeps {kept} channels of {name!r}, which has {most}; keep 1 to {most}.")

    @property
    def cuts_nothing(self) -> bool:
        """Whether everything stays; a family's member is never the whole of anything."""
        whole = dict(self.channels) == dict(self.original_channels)
        return self.width is None and whole and not self.dropped and not self.ranks and not self.layer_bits

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Reads what ``to_json`` wrote.

        Raises:
            InputError: the text is no plan.
        """
        try:
            return cls(**json.loads(text))
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(f"This is no plan ({reason}); a plan is the JSON that Plan.to_json writes.") from None
