"""Recognisers from Hugging Face: tiny ones with random weights, read from folders as real ones are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo_apps.speech._huggingface import Floats, Wav2Vec2Teacher, WhisperTeacher, relabelled, words_of
from demo_apps.speech.sentences._task import SentencesTask
from demo_apps.speech.sentences._utterance import Corpus, Utterance
from mobiledistill import InputError

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
SECONDS = 2  # that the tiny Whisper reads at once; real ones read 30
PIECES = ["!", *"abcde", "Ġ", "1", "2", "$", "Ġa", "bc", "de", "Ġ1"]
MERGES = [("Ġ", "a"), ("b", "c"), ("d", "e"), ("Ġ", "1")]
COMMANDS = [
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>"),
]


def wave(samples: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def enlarge(model: Any) -> None:
    """Weights so large that what the model writes depends on what it hears."""
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.5)


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wav2vec2")
    (folder / "letters.json").write_text(json.dumps({letter: number for number, letter in enumerate(LETTERS)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "letters.json"))
    features = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False, do_normalize=True)
    transformers.Wav2Vec2Processor(features, tokenizer).save_pretrained(folder)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(LETTERS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(40, 20),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    model = transformers.Wav2Vec2ForCTC(config)
    with torch.no_grad():
        model.lm_head.weight.normal_(0, 1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper"), multilingual=True)


def save_whisper(folder: Path, *, multilingual: bool) -> Path:
    pieces = {piece: number for number, piece in enumerate([*PIECES, COMMANDS[0]])}
    tokenizer = transformers.WhisperTokenizer(vocab=pieces, merges=MERGES)
    commands = [transformers.AddedToken(command, special=True) for command in COMMANDS]
    tokenizer.add_tokens(commands, special_tokens=True)
    number = dict(zip(COMMANDS, tokenizer.convert_tokens_to_ids(COMMANDS), strict=True))
    features = transformers.WhisperFeatureExtractor(chunk_length=SECONDS)
    transformers.WhisperProcessor(features, tokenizer).save_pretrained(folder)
    end, start = number["<|endoftext|>"], number["<|startoftranscript|>"]
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=50 * SECONDS,
        max_target_positions=24,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    enlarge(model)
    languages = {
        "is_multilingual": True,
        "lang_to_id": {name: number[name] for name in ("<|en|>", "<|de|>")},
        "task_to_id": {name: number[f"<|{name}|>"] for name in ("transcribe", "translate")},
    }
    model.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        max_length=24,
        no_timestamps_token_id=number["<|notimestamps|>"],
        suppress_tokens=sorted({number[command] for command in COMMANDS[1:]}),  # as the real ones have it
        **(languages if multilingual else {"is_multilingual": False}),
    )
    model.save_pretrained(folder)
    return folder


def pipeline(teacher: WhisperTeacher | Wav2Vec2Teacher) -> Any:
    processor = teacher.checkpoint.processor
    return transformers.pipeline(
        "automatic-speech-recognition",
        model=teacher.checkpoint.model,
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
    )


WAVES = [wave(16_000), wave(9_000, 1), wave(12_345, 2)]


def test_letters_are_those_of_the_pipeline_of_transformers(letters: Path) -> None:
    teacher = Wav2Vec2Teacher.from_pretrained(letters)
    answers = teacher.transcribe(WAVES)
    wanted = [pipeline(teacher)({"raw": samples, "sampling_rate": 16_000})["text"] for samples in WAVES]
    assert answers == [text.strip() for text in wanted]
    assert len(set(answers)) == len(WAVES)


def test_letters_are_the_likeliest_path_without_repetitions_and_blanks(letters: Path) -> None:
    teacher = Wav2Vec2Teacher.from_pretrained(letters)
    samples = WAVES[0]
    normal = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    with torch.no_grad():
        best = teacher.checkpoint.model(torch.from_numpy(normal)[None]).logits[0].argmax(1).tolist()
    path = [token for before, token in zip([0, *best], best, strict=False) if token not in (before, 0)]
    assert len(path) < len(best)
    assert teacher.transcribe([samples]) == ["".join(LETTERS[token] for token in path).replace("|", " ").strip()]


def test_a_wave_shorter_than_a_frame_says_nothing(letters: Path) -> None:
    assert Wav2Vec2Teacher.from_pretrained(letters).transcribe([wave(0), wave(50), wave(400)])[:2] == ["", ""]


def test_weights_that_only_training_reads_may_be_missing(letters: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in letters.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["wav2vec2.masked_spec_embed"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    answers = Wav2Vec2Teacher.from_pretrained(tmp_path).transcribe(WAVES)
    assert answers == Wav2Vec2Teacher.from_pretrained(letters).transcribe(WAVES)


def test_an_encoder_without_letters_is_refused(letters: Path, tmp_path: Path) -> None:
    for path in letters.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    Wav2Vec2Teacher.from_pretrained(letters).checkpoint.model.wav2vec2.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"lacks 2 weights of Wav2Vec2ForCTC, lm_head\.bias for one"):
        Wav2Vec2Teacher.from_pretrained(tmp_path)


def test_text_is_that_of_the_pipeline_of_transformers(whisper: Path) -> None:
    teacher = WhisperTeacher.from_pretrained(whisper, spell_numbers=False)
    answers = teacher.transcribe(WAVES)
    options = {"language": "en", "task": "transcribe", "num_beams": 1}
    wanted = [
        pipeline(teacher)({"raw": samples, "sampling_rate": 16_000}, generate_kwargs=options)["text"]
        for samples in WAVES
    ]
    assert answers == [text.strip() for text in wanted]
    assert len(set(answers)) > 1


def test_text_for_a_checkpoint_of_one_language(tmp_path: Path) -> None:
    teacher = WhisperTeacher.from_pretrained(save_whisper(tmp_path, multilingual=False), spell_numbers=False)
    [answer] = teacher.transcribe(WAVES[:1])
    wanted = pipeline(teacher)({"raw": WAVES[0], "sampling_rate": 16_000}, generate_kwargs={"num_beams": 1})
    assert answer == wanted["text"].strip() != ""


def test_numbers_are_spelled_on_request(whisper: Path) -> None:
    freely = WhisperTeacher.from_pretrained(whisper, spell_numbers=False).transcribe(WAVES)
    assert any(set(answer) & set("12$") for answer in freely)
    spelled = WhisperTeacher.from_pretrained(whisper).transcribe(WAVES)
    assert all(answer for answer in spelled)
    assert not any(set(answer) & set("12$") for answer in spelled)


def test_language_and_beams_reach_the_decoder(whisper: Path) -> None:
    default = WhisperTeacher.from_pretrained(whisper).transcribe(WAVES)
    assert WhisperTeacher.from_pretrained(whisper, language="de").transcribe(WAVES) != default
    assert WhisperTeacher.from_pretrained(whisper, beams=4).transcribe(WAVES) != default


def test_text_does_not_depend_on_the_batch(whisper: Path) -> None:
    teacher = WhisperTeacher.from_pretrained(whisper)
    many = [wave(8_000, seed) for seed in range(10)]  # more than a batch
    together = teacher.transcribe(many)
    for place in (0, 7, 8):
        assert teacher.transcribe([many[place]]) == [together[place]]
    assert teacher.transcribe([wave(0), many[0]]) == ["", together[0]]
    assert teacher.transcribe([]) == []


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((2, 100), np.float32), r"shape \(2, 100\), but must be \(samples,\)"),
        (np.full(100, np.nan, np.float32), "of finite numbers"),
    ],
)
def test_waves_that_cannot_be_read(letters: Path, whisper: Path, samples: Floats, words: str) -> None:
    for teacher in (Wav2Vec2Teacher.from_pretrained(letters), WhisperTeacher.from_pretrained(whisper)):
        with pytest.raises(InputError, match=words):
            teacher.transcribe([wave(800), samples])


def test_waves_that_last_too_long(letters: Path, whisper: Path) -> None:
    seconds = [np.zeros(seconds * 16_000 + 1, np.float32) for seconds in (SECONDS, 30)]
    with pytest.raises(InputError, match=r"lasts 2\.0 s at 16 kHz, but may last 2 s"):
        WhisperTeacher.from_pretrained(whisper).transcribe(seconds[:1])
    with pytest.raises(InputError, match=r"lasts 30\.0 s at 16 kHz, but may last 30 s"):
        Wav2Vec2Teacher.from_pretrained(letters).transcribe(seconds)


def test_each_refuses_the_checkpoint_of_the_other(letters: Path, whisper: Path) -> None:
    with pytest.raises(InputError, match="holds a model of type 'wav2vec2', but WhisperForConditionalGeneration"):
        WhisperTeacher.from_pretrained(letters)
    with pytest.raises(InputError, match="holds a model of type 'whisper', but Wav2Vec2ForCTC needs 'wav2vec2'"):
        Wav2Vec2Teacher.from_pretrained(whisper)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" It's the twenty-fifth, isn't it?", "IT'S THE TWENTY FIFTH ISN'T IT"),
        ("GO ON", "GO ON"),
        ("“Enter” — \u2018four\u2019 …", "ENTER FOUR"),
        ("don\u2019t 'quote' me.", "DON'T QUOTE ME"),
        ("May 25th", ""),
        ("five €", ""),
        ("café", ""),
        ("A<unk>B", ""),
        ("?!", ""),
        ("", ""),
    ],
)
def test_words_of_ordinary_text(text: str, words: str) -> None:
    assert words_of(text) == tuple(words.split())


class Says:
    """Says what it was told, utterance by utterance."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def transcribe(self, waves: Sequence[Floats]) -> list[str]:
        assert all(samples.ndim == 1 for samples in waves)
        return list(self.texts)


def utterance(name: str) -> Utterance:
    return Utterance(wave(16_000, len(name)), ("HELLO",), "someone", name)


CORPUS = Corpus(
    (utterance("a"), utterance("bb"), utterance("ccc")), (utterance("d"),), (utterance("e"),), ("HELLO",), "here", False
)


def test_a_task_learns_from_relabelled_speech() -> None:
    changed = relabelled(CORPUS, Says("Stop it.", "Stop 2 times", "Go, please!"))
    assert [spoken.words for spoken in changed.train] == [("STOP", "IT"), ("GO", "PLEASE")]
    assert [spoken.name for spoken in changed.train] == ["a", "ccc"]
    assert (changed.validation, changed.test) == (CORPUS.validation, CORPUS.test)
    task = SentencesTask(changed)
    learned: list[str] = []
    for batch in task.train_batches(0):
        for tokens, length in zip(batch.targets["tokens"], batch.targets["lengths"], strict=True):
            learned += task.tokens.decode(tokens[: int(length)].tolist())  # a row may hold both
    assert sorted(learned) == ["GO", "IT", "PLEASE", "STOP"]


def test_a_teacher_that_says_nothing_of_use() -> None:
    with pytest.raises(InputError, match="None of the teacher's 3 transcripts is made of letters A to Z"):
        relabelled(CORPUS, Says("", "1 2 3", "naïve"))
