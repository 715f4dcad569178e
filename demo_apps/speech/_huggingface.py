"""Speech recognisers from Hugging Face as teachers: their transcripts, as words of the task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from demo_apps._pretrained import Checkpoint, Kind, load_checkpoint
from demo_apps.speech.sentences._utterance import Corpus
from mobiledistill import InputError

__all__ = ["TranscribingTeacher", "Wav2Vec2Teacher", "WhisperTeacher", "relabelled", "words_of"]

Floats = NDArray[np.float32]

_WHISPER = Kind("whisper", "WhisperForConditionalGeneration", "WhisperProcessor")
_WAV2VEC2 = Kind("wav2vec2", "Wav2Vec2ForCTC", "Wav2Vec2Processor")
_SAMPLE_RATE = 16_000
_LONGEST_SECONDS = 30  # of the task; Whisper says itself what it reads at once, 30 s too
_BATCH = 8
_NUMERALS = re.compile(r"[0-9$%£€]")
# Apostrophes as typesetters set them, and dashes.
_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "-": " ", "\u2013": " ", "\u2014": " "})
_MARKS = re.compile(r"[.,;:!?\"“”…()\[\]]|(?<![A-Z])'|'(?![A-Z])")
_WORDS = re.compile(r"[A-Z']+(?: [A-Z']+)*")


class TranscribingTeacher(Protocol):
    """Whatever writes down what is said."""

    def transcribe(self, waves: Sequence[Floats]) -> list[str]:
        """What is said in each mono waveform at 16 kHz in -1..1, shape ``(samples,)``."""
        ...


@dataclass(frozen=True, eq=False)
class WhisperTeacher:
    """``WhisperForConditionalGeneration``, an encoder-decoder that writes ordinary text (Radford et al. 2022).

    Attributes:
        checkpoint: the model and its processor.
        language: what is spoken, as a multilingual checkpoint calls it; one for English alone needs none.
        spell_numbers: whether numbers must be words ("twenty five"), as a task without digits needs them.
        beams: hypotheses that are followed; 1 is greedy.

    Example:
        >>> teacher = WhisperTeacher.from_pretrained("openai/whisper-small.en")  # doctest: +SKIP
        >>> teacher.transcribe([samples])  # doctest: +SKIP
        ['Rubout G M E F three nine.']
    """

    checkpoint: Checkpoint
    language: str = "en"
    spell_numbers: bool = True
    beams: int = 1

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        language: str = "en",
        spell_numbers: bool = True,
        beams: int = 1,
        revision: str | None = None,
    ) -> WhisperTeacher:
        """Loads a checkpoint from a folder that ``save_pretrained`` wrote, or by its name (and revision) on the hub.

        Raises:
            MissingExtraError: ``transformers`` is not installed.
            InputError: the checkpoint is missing, damaged or of another kind.
        """
        return cls(load_checkpoint(name_or_folder, _WHISPER, revision), language, spell_numbers, beams)

    def transcribe(self, waves: Sequence[Floats]) -> list[str]:
        """What is said in each mono waveform at 16 kHz in -1..1, shape ``(samples,)``, at most 30 s long."""
        model, processor = self.checkpoint.model, self.checkpoint.processor
        _check(waves, processor.feature_extractor.chunk_length)
        options: dict[str, object] = {"num_beams": self.beams}
        if getattr(model.generation_config, "is_multilingual", False):
            options |= {"language": self.language, "task": "transcribe"}
        if self.spell_numbers:
            options["suppress_tokens"] = [*(model.generation_config.suppress_tokens or ()), *_numerals(processor)]
        answers: list[str] = []
        for start in range(0, len(waves), _BATCH):
            inputs = processor(
                list(waves[start : start + _BATCH]),
                sampling_rate=_SAMPLE_RATE,
                return_attention_mask=True,
                return_tensors="pt",
            )
            tokens = model.generate(inputs["input_features"], attention_mask=inputs["attention_mask"], **options)
            answers += processor.batch_decode(tokens, skip_special_tokens=True)
        return [answer.strip() if len(wave) else "" for answer, wave in zip(answers, waves, strict=True)]


@dataclass(frozen=True, eq=False)
class Wav2Vec2Teacher:
    """``Wav2Vec2ForCTC``, a Transformer over the waveform that writes letters (Baevski et al. 2020).

    Attributes:
        checkpoint: the model and its processor.
    """

    checkpoint: Checkpoint

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, *, revision: str | None = None) -> Wav2Vec2Teacher:
        """Loads a checkpoint from a folder that ``save_pretrained`` wrote, or by its name (and revision) on the hub.

        Raises:
            MissingExtraError: ``transformers`` is not installed.
            InputError: the checkpoint is missing, damaged or of another kind.
        """
        return cls(load_checkpoint(name_or_folder, _WAV2VEC2, revision))

    def transcribe(self, waves: Sequence[Floats]) -> list[str]:
        """The likeliest letter of each frame, repetitions and blanks taken out; waveforms as for Whisper."""
        _check(waves, _LONGEST_SECONDS)
        return [self._transcribed(wave) for wave in waves]

    def _transcribed(self, wave: Floats) -> str:
        """One waveform: alone, since the smaller checkpoints were trained without masks for padding."""
        model, processor = self.checkpoint.model, self.checkpoint.processor
        if model._get_feat_extract_output_lengths(len(wave)) < 1:  # shorter than what one frame sees
            return ""
        inputs = processor(wave, sampling_rate=_SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            logits = model(inputs["input_values"]).logits
        [answer] = processor.batch_decode(logits.argmax(dim=2))
        return str(answer).strip()


def relabelled(corpus: Corpus, teacher: TranscribingTeacher) -> Corpus:
    """The same speech with the teacher's words on the utterances of ``train``; validation and test keep the truth.

    Utterances in which the teacher hears nothing, or whose transcript the task cannot write (see :func:`words_of`),
    are left out.

    Example:
        >>> corpus = relabelled(load_corpus(), teacher)  # doctest: +SKIP
        >>> task = SentencesTask(corpus, augmentation=Augmentation())  # doctest: +SKIP

    Raises:
        InputError: nothing is left.
    """
    heard = zip(corpus.train, teacher.transcribe([utterance.samples for utterance in corpus.train]), strict=True)
    train = tuple(replace(utterance, words=words) for utterance, text in heard if (words := words_of(text)))
    if not train:
        raise InputError(
            f"None of the teacher's {len(corpus.train)} transcripts is made of letters A to Z: give a teacher for"
            " English that spells numbers."
        )
    return replace(corpus, train=train, source=f"{corpus.source}, training words by a teacher")


def words_of(text: str) -> tuple[str, ...]:
    """Ordinary English text as words of capital letters and apostrophes; empty where that cannot be done.

    Punctuation is dropped and hyphens part words. Digits, signs and letters with accents have no such form.

    Example:
        >>> words_of(" It's the twenty-fifth, isn't it?")
        ("IT'S", 'THE', 'TWENTY', 'FIFTH', "ISN'T", 'IT')
        >>> words_of("May 25th")
        ()
    """
    plain = text.translate(_PLAIN).upper()
    plain = " ".join(_MARKS.sub("", plain).split())
    return tuple(plain.split()) if _WORDS.fullmatch(plain) else ()


def _check(waves: Sequence[Floats], longest_seconds: int) -> None:
    for wave in waves:
        if wave.ndim != 1 or not np.isfinite(wave).all():
            raise InputError(f"A waveform has shape {wave.shape}, but must be (samples,), mono, of finite numbers.")
        if len(wave) > longest_seconds * _SAMPLE_RATE:
            raise InputError(
                f"A waveform lasts {len(wave) / _SAMPLE_RATE:.1f} s at 16 kHz, but may last {longest_seconds} s: cut"
                " it, or resample it."
            )


def _numerals(processor: object) -> list[int]:
    """The tokens that write digits, percent or money; those in angle brackets are commands and times."""
    vocabulary: dict[str, int] = processor.tokenizer.get_vocab()  # type: ignore[attr-defined]  # a Wav2Vec2Processor has one
    return sorted(
        number for token, number in vocabulary.items() if _NUMERALS.search(token) and not token.startswith("<|")
    )
