"""What is told of each task: its figures, and how two systems that answered the same samples are compared."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mobiledistill as md

__all__ = ["CASES", "Case"]

_RESAMPLES = 2000

PredictOf = Callable[[Path], md.Predict]


class Case(ABC):
    """One task of the benchmark.

    Attributes:
        name: its key in the JSON.
        demo: the demo that has it.
        task: its name there.
        unit: the figure that systems are compared by.
    """

    name: str
    demo: str
    task: str
    unit: str

    @abstractmethod
    def answers(self, task: Any, predict: md.Predict) -> Any:
        """All answers on the test split, in a form that can be scored and compared."""

    @abstractmethod
    def figures(self, task: Any, answers: Any) -> dict[str, Any]:
        """The scores of some answers."""

    @abstractmethod
    def difference(self, task: Any, ours: Any, other: Any) -> dict[str, Any]:
        """``ours`` less ``other`` in the task's main figure, with the 95 % interval of a paired bootstrap."""

    def more(
        self, task: Any, teacher: md.Predict, predict_of: PredictOf, result: md.CompressionResult
    ) -> dict[str, Any]:
        """What else the task's readers want to know."""
        return {}


class Sentences(Case):
    """Spoken sentences by their word error rate."""

    name, demo, task, unit = "sentences", "speech", "sentences", "wer"

    def answers(self, task: Any, predict: md.Predict) -> Any:
        return task.transcripts(predict, "test")

    def figures(self, task: Any, answers: Any) -> dict[str, Any]:
        from demo_apps.speech.sentences import character_error_rate, word_error_rate

        score = word_error_rate(task.words("test"), answers)
        cer = character_error_rate(task.words("test"), answers)
        return {"wer": score.value, "ci95": list(score.ci95), "n": score.n, "cer": cer}

    def difference(self, task: Any, ours: Any, other: Any) -> dict[str, Any]:
        from demo_apps.speech.sentences import word_errors

        spoken = task.words("test")
        (errors, words), (other_errors, _) = (word_errors(spoken, one).T for one in (ours, other))
        drawn = np.random.default_rng(0).integers(0, len(words), (_RESAMPLES, len(words)))
        values = 100 * (errors - other_errors)[drawn].sum(1) / words[drawn].sum(1)
        return _interval(100 * float((errors - other_errors).sum() / words.sum()), values)

    def more(
        self, task: Any, teacher: md.Predict, predict_of: PredictOf, result: md.CompressionResult
    ) -> dict[str, Any]:
        beam = task.dictionary_beam()
        found: dict[str, Any] = {"teacher_beam": self.figures(task, task.transcripts(teacher, "test", beam))}
        seconds_of_speech = task.seconds("test")
        for form, artifact in result.artifacts.items():
            start = time.perf_counter()
            answers = task.transcripts(predict_of(artifact.path), "test")
            spent = time.perf_counter() - start
            found[form] = {"real_time_factor": spent / seconds_of_speech, "greedy": self.figures(task, answers)["wer"]}
        first = next(iter(result.artifacts))
        answers = task.transcripts(predict_of(result.artifacts[first].path), "test", beam)
        found[first]["beam"] = self.figures(task, answers)
        return found


class Detection(Case):
    """Boxes by COCO's average precision."""

    name, demo, task, unit = "detection", "detection", "cells", "ap"

    def answers(self, task: Any, predict: md.Predict) -> Any:
        return task.matches(predict, "test")

    def figures(self, task: Any, answers: Any) -> dict[str, Any]:
        low, high = answers.interval(_RESAMPLES)
        return {
            "ap": answers.ap(),
            "ap50": answers.ap(0.5),
            "ap75": answers.ap(0.75),
            "ci95": [low, high],
            "n": answers.images,
        }

    def difference(self, task: Any, ours: Any, other: Any) -> dict[str, Any]:
        from demo_apps.detection import paired_difference

        found = paired_difference(ours, other)
        return {"value": found.value, "ci95": list(found.ci95)}


class Translation(Case):
    """Sentences in another language by BLEU against all their references."""

    name, demo, task, unit = "translation", "translation", "en-de", "bleu"

    def answers(self, task: Any, predict: md.Predict) -> Any:
        return task.translate(predict, [sentence.source for sentence in task.sentences_of("test")])

    def figures(self, task: Any, answers: Any) -> dict[str, Any]:
        from demo_apps.translation import bleu, bleu_counts, bleu_interval, bleu_signature, chrf

        known = [sentence.references for sentence in task.sentences_of("test")]
        counts, single = bleu_counts(answers, known), bleu_counts(answers, [one[:1] for one in known])
        return {
            "bleu": bleu(counts),
            "ci95": list(bleu_interval(counts)),
            "n": len(counts),
            "chrf": chrf(answers, known),
            "bleu_one_reference": bleu(single),
            "signature": bleu_signature(0),
            "signature_one_reference": bleu_signature(1),
        }

    def difference(self, task: Any, ours: Any, other: Any) -> dict[str, Any]:
        from demo_apps.translation import bleu_counts, paired_difference

        known = [sentence.references for sentence in task.sentences_of("test")]
        value, interval = paired_difference(bleu_counts(ours, known), bleu_counts(other, known))
        return {"value": value, "ci95": list(interval)}


def _interval(value: float, values: Any) -> dict[str, Any]:
    low, high = np.percentile(values, [2.5, 97.5])
    return {"value": value, "ci95": [float(low), float(high)]}


CASES: dict[str, Case] = {case.name: case for case in (Sentences(), Detection(), Translation())}
