"""What students learn from: the teacher's own translations in place of people's (Kim and Rush 2016).

People translate one text in many ways; a teacher does it in one, which a small student can learn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from demo_apps.translation._decode import beam_search
from demo_apps.translation._pairs import Pair
from demo_apps.translation._predictor import predictor
from demo_apps.translation._task import TranslationTask
from mobiledistill import InputError, Task

__all__ = ["transfer", "translations"]

_SHARE = 0.2  # of the distinct texts; the others keep what people wrote
_BEAMS = 2
_AT_A_TIME = 2000


def transfer(task: Task, teacher: nn.Module, workdir: Path) -> TranslationTask:
    """The task with the teacher's translations for a fifth of the texts, kept in ``workdir`` once they are made.

    Args:
        task: what the teacher learned.
        teacher: a trained translator.
        workdir: folder for the translations.
    """
    if not isinstance(task, TranslationTask):
        raise InputError(f"A {type(task).__name__} has no texts to translate; give a TranslationTask.")
    texts = list(dict.fromkeys(pair.source for pair in task.train))
    chosen = texts[:: round(1 / _SHARE)]
    known = translations(task, teacher, chosen, workdir)
    kept = [pair for pair in task.train if pair.source not in known]
    pairs = [*kept, *(Pair(source, target) for source, target in known.items() if target)]
    return task.with_pairs(pairs).with_states(predictor(task, teacher))


def translations(task: TranslationTask, teacher: nn.Module, texts: Sequence[str], workdir: Path) -> dict[str, str]:
    """A teacher's translations by text; a call that was killed goes on where it stopped."""
    folder = workdir / f"translations-{_digest(teacher, texts)}"
    folder.mkdir(parents=True, exist_ok=True)
    predict = predictor(task, teacher)
    found: dict[str, str] = {}
    for start in range(0, len(texts), _AT_A_TIME):
        part = texts[start : start + _AT_A_TIME]
        file = folder / f"{start:06}.json"
        if not file.exists():
            tokens = beam_search(predict, task.source_vocabulary.encode_all(part), beams=_BEAMS, trimmed=True)
            aside = file.with_suffix(".partial")
            aside.write_text(json.dumps([task.target_vocabulary.decode(answer) for answer in tokens]))
            aside.replace(file)
        found |= zip(part, json.loads(file.read_text()), strict=True)
    return found


def _digest(teacher: nn.Module, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps([*texts, _BEAMS]).encode())
    for name, value in sorted(teacher.state_dict().items()):
        digest.update(name.encode() + value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
