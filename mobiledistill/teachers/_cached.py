"""A slow teacher is asked once: its answers are kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from converters import InputError
from mobiledistill._task import Task
from mobiledistill._workdir import code_fingerprint, make_folder
from mobiledistill.teachers._base import Answers, Teacher

__all__ = ["Cached"]

_KEY_BYTES = 16
_KEYS, _OUTPUT = "keys", "output."
_SHARD_BYTES = 64_000_000


class Cached(Teacher):
    """Another teacher's answers, kept on disk by what was asked: from the second epoch on nobody has to compute them.

    You gain the teacher's whole time wherever samples come again unchanged, in the next epoch and in the next run;
    they may come in any order and in other batches. Where augmentation changes every sample every time, nothing ever
    comes again, and you lose the disk and the time to look; ``hit_rate`` says how it went. Answers are held in memory
    too. Layers are asked of the teacher anew, so losses that read them gain nothing.

    Keys are digests of each sample's bytes and of the code behind the teacher and the task, in a folder named after the
    teacher's ``fingerprint``; rows of a batch must not depend on each other, as they do not in evaluation mode.

    Example:
        >>> import tempfile
        >>> from mobiledistill.teachers import TorchTeacher
        >>> from tests.networks import Residual, Stripes
        >>> task, teacher = Stripes(), Cached(TorchTeacher(Residual()), tempfile.mkdtemp())
        >>> for epoch in range(2):
        ...     answers = teacher.answers(task, next(task.train_batches(0)).inputs)
        >>> teacher.hit_rate
        0.5

    Args:
        teacher: who is asked.
        folder: where answers are kept; several teachers may share it.
        most_bytes: of answers; what comes after is answered and not kept.

    Raises:
        InputError: the folder cannot be written, or ``most_bytes`` is not above 0.
    """

    def __init__(self, teacher: Teacher, folder: str | Path, *, most_bytes: int = 4_000_000_000) -> None:
        if most_bytes <= 0:
            raise InputError(f"most_bytes must be above 0, but got {most_bytes!r}.")
        self._teacher = teacher
        self._folder = Path(folder) / f"answers-{teacher.fingerprint}"
        self._most_bytes = most_bytes
        self._groups: dict[str, _Group] = {}
        self._codes: dict[type, str] = {}
        self._asked = self._found = 0
        make_folder(self._folder)
        for path in sorted(self._folder.glob("*.safetensors")):
            self._group(path.name.partition("-")[0]).read(path)

    @property
    def fingerprint(self) -> str:
        return self._teacher.fingerprint

    @property
    def module(self) -> nn.Module | None:
        return self._teacher.module

    @property
    def size_bytes(self) -> int | None:
        return self._teacher.size_bytes

    @property
    def hit_rate(self) -> float:
        """The share of samples so far whose answers were known."""
        return self._found / self._asked if self._asked else 0.0

    def layer_shapes(self, task: Task, signature: str) -> Mapping[str, tuple[int, ...]]:
        return self._teacher.layer_shapes(task, signature)

    def answers(
        self, task: Task, inputs: Mapping[str, Tensor], signature: str = "main", layers: Collection[str] = ()
    ) -> Answers:
        if layers:
            return self._teacher.answers(task, inputs, signature, layers)
        group = self._group(_group_name(inputs, signature, self._code_of(task)))
        keys = _keys(inputs)
        unknown = [place for place, key in enumerate(keys) if key not in group.rows]
        self._asked += len(keys)
        self._found += len(keys) - len(unknown)
        device = next(iter(inputs.values())).device
        if unknown:
            some = inputs if len(unknown) == len(keys) else {n: value[unknown] for n, value in inputs.items()}
            answers = self._teacher.answers(task, some, signature)
            if self._kept_bytes + sum(value.nbytes for value in answers.outputs.values()) > self._most_bytes:
                return answers if some is inputs else self._teacher.answers(task, inputs, signature)
            group.add([keys[place] for place in unknown], answers.outputs)
            if group.waiting_bytes > _SHARD_BYTES:
                self.flush()
        return Answers({name: value.to(device) for name, value in group.recall(keys).items()})

    def flush(self) -> None:
        """Writes what is not on disk yet; trainings do it after every epoch."""
        for name, group in self._groups.items():
            group.write(self._folder, name)

    def _code_of(self, task: Task) -> str:
        """A digest of the code behind the answers: a forward or a decoding that was changed answers otherwise."""
        if type(task) not in self._codes:
            self._codes[type(task)] = code_fingerprint(task, self._teacher.module)
        return self._codes[type(task)]

    @property
    def _kept_bytes(self) -> int:
        return sum(group.size_bytes for group in self._groups.values())

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())


class _Group:
    """Answers of one shape: arrays that grow, a row a sample."""

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self._values: dict[str, Tensor] = {}
        self._written = 0

    @property
    def size_bytes(self) -> int:
        return len(self.rows) * self._row_bytes

    @property
    def waiting_bytes(self) -> int:
        return (len(self.rows) - self._written) * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return sum(value[:1].nbytes for value in self._values.values())

    def add(self, keys: Sequence[bytes], outputs: Mapping[str, Tensor]) -> None:
        """Takes answers in; a sample that is there twice is kept once."""
        first = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self.rows}
        chosen, start = list(first.values()), len(self.rows)
        for name, value in outputs.items():
            rows = value[chosen].detach().cpu()
            room = self._values.get(name, rows[:0])
            if start + len(rows) > len(room):
                larger = torch.empty(max(2 * len(room), start + len(rows), 256), *rows.shape[1:], dtype=rows.dtype)
                larger[:start] = room[:start]
                room = self._values[name] = larger
            room[start : start + len(rows)] = rows
        self.rows.update((key, start + number) for number, key in enumerate(first))

    def recall(self, keys: Sequence[bytes]) -> dict[str, Tensor]:
        places = torch.tensor([self.rows[key] for key in keys])
        return {name: value[places] for name, value in self._values.items()}

    def write(self, folder: Path, name: str) -> None:
        """Writes the rows that are not on disk yet into a file of their own."""
        from safetensors.torch import save_file

        count = len(self.rows)
        if count == self._written:
            return
        keys = np.frombuffer(b"".join(list(self.rows)[self._written :]), np.uint8).reshape(-1, _KEY_BYTES)
        shard = {key: value[self._written : count].clone() for key, value in self._values.items()}
        digest = hashlib.sha256(keys.tobytes()).hexdigest()[:16]
        aside = folder / f"{name}-{digest}.{os.getpid()}.partial"  # processes that share a folder may write the same
        save_file({f"{_OUTPUT}{key}": value for key, value in shard.items()} | {_KEYS: torch.tensor(keys)}, aside)
        aside.replace(folder / f"{name}-{digest}.safetensors")
        self._written = count

    def read(self, path: Path) -> None:
        """Takes in what ``write`` wrote; a damaged file is dropped, since its answers can be had again."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            shard = load_file(path)
            keys = [row.tobytes() for row in shard.pop(_KEYS).numpy()]
            self.add(keys, {name.removeprefix(_OUTPUT): value for name, value in shard.items()})
        except (SafetensorError, KeyError, IndexError, RuntimeError):
            path.unlink(missing_ok=True)
        self._written = len(self.rows)


def _group_name(inputs: Mapping[str, Tensor], signature: str, code: str) -> str:
    shapes = [(name, tuple(value.shape[1:]), str(value.dtype)) for name, value in inputs.items()]
    return hashlib.sha256(repr((signature, code, shapes)).encode()).hexdigest()[:16]


def _keys(inputs: Mapping[str, Tensor]) -> list[bytes]:
    """A digest of each sample."""
    parts = [value.detach().cpu().contiguous().numpy() for value in inputs.values()]
    keys = []
    for row in zip(*parts, strict=True):
        digest = hashlib.blake2b(digest_size=_KEY_BYTES)
        for value in row:
            digest.update(np.ascontiguousarray(value).tobytes())
        keys.append(digest.digest())
    return keys
