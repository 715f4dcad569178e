"""What an operator is given: tensors and literals by the names of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from converters._errors import ModelFileError

__all__ = ["Arguments", "Operator", "named_dtype"]

Value: TypeAlias = "Tensor | str | Sequence[Tensor]"


class Arguments:
    """The arguments of one operator; whole numbers, flags and words come out as Python values."""

    def __init__(self, operator: str, values: Mapping[str, Value]) -> None:
        self.operator = operator
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def tensor(self, name: str) -> Tensor:
        value = self._value(name)
        if not isinstance(value, Tensor):
            raise ModelFileError(f"Operator {self.operator} has no tensor as argument {name!r}; export the file again.")
        return value

    def optional(self, name: str) -> Tensor | None:
        return self.tensor(name) if name in self._values else None

    def tensors(self, name: str) -> list[Tensor]:
        value = self._value(name)
        if isinstance(value, str):
            raise ModelFileError(f"Operator {self.operator} has a word as argument {name!r}; export the file again.")
        return [value] if isinstance(value, Tensor) else list(value)

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        if name not in self._values and default is not None:
            return list(default)
        return [int(number) for number in self.tensor(name).flatten().tolist()]

    def integer(self, name: str, default: int | None = None) -> int:
        (number,) = self.integers(name, None if default is None else (default,))
        return number

    def number(self, name: str, default: float | None = None) -> float:
        if name not in self._values and default is not None:
            return default
        return float(self.tensor(name))

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.tensor(name)) if name in self._values else default

    def flags(self, name: str, count: int) -> list[bool]:
        return [bool(flag) for flag in self.integers(name, [0] * count)]

    def word(self, name: str, default: str | None = None) -> str:
        if name not in self._values and default is not None:
            return default
        value = self._value(name)
        if not isinstance(value, str):
            raise ModelFileError(f"Operator {self.operator} has no word as argument {name!r}; export the file again.")
        return value

    def _value(self, name: str) -> Value:
        if name not in self._values:
            raise ModelFileError(f"Operator {self.operator} lacks its argument {name!r}; export the file again.")
        return self._values[name]


Operator: TypeAlias = Callable[[Arguments], "Tensor | tuple[Tensor, ...]"]

_NAMED_DTYPES = {
    "fp16": torch.float16,
    "fp32": torch.float32,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}


def named_dtype(name: str) -> torch.dtype:
    """The torch type for a type name of the language.

    Raises:
        ModelFileError: the executor has no such type.
    """
    if name not in _NAMED_DTYPES:
        raise ModelFileError(f"Type {name!r} is not one that the Core ML executor knows: {', '.join(_NAMED_DTYPES)}.")
    return _NAMED_DTYPES[name]
