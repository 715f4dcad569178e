"""The speech page: what it computes is what Python computes, and it answers as the command line does."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from converters import DeviceError, Format
from demo_apps.speech import Dataset, DigitsTask, digits_net, log_mel
from demo_apps.speech._synthetic import synthetic_recordings
from demo_apps.speech._try import TRY_OUT as DIGITS
from demo_apps.speech._wav import corpus_samples, resampled, user_samples
from demo_apps.speech.sentences import DictionaryBeam, SentencesTask, greedy, sentences_net
from demo_apps.speech.sentences import log_mel as sentences_log_mel
from demo_apps.speech.sentences._synthetic import synthetic_corpus
from demo_apps.speech.sentences._try import TRY_OUT as SENTENCES
from mobiledistill.devices import Runtimes
from mobiledistill.devices._browser_try import shelf_for
from tests.demo_apps.pages.conftest import FORMATS, Opened, Tried
from tests.devices.browser import Chromium


@pytest.fixture(scope="module")
def digits(opened: Opened) -> Tried:
    """A student of integers that was never trained, but answers loudly: something else of every recording."""
    torch.manual_seed(0)
    task = DigitsTask(Dataset(synthetic_recordings(), "synthetic", synthetic=True))
    net = digits_net(8)
    torch.nn.init.normal_(net.classify.weight, std=8.0)
    return opened("digits", DIGITS, task, net, integers=True)


@pytest.fixture(scope="module")
def task() -> SentencesTask:
    whole = synthetic_corpus()
    return SentencesTask(
        replace(whole, train=whole.train[::6], validation=whole.validation[:6], test=whole.test[:12]), width=16
    )


@pytest.fixture(scope="module")
def sentences(opened: Opened, task: SentencesTask) -> Tried:
    torch.manual_seed(0)
    return opened("sentences", SENTENCES, task, sentences_net(len(task.tokens), 16))


def written(path: Path, samples: np.ndarray, rate: int, width: int = 2, channels: int = 1) -> Path:
    """A WAV file of samples in -1..1, the same in every channel but for their sign."""
    scale = 2 ** (8 * width - 1) - 1
    numbers = np.round(samples * scale).astype(np.int64)
    many = np.stack([numbers * (1, -0.5, 0.25)[channel] for channel in range(channels)], 1).astype("<i8")
    raw = many + 128 if width == 1 else many
    data = raw.reshape(-1, 1).view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(data)
    return path


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_recording_is_named_as_the_command_line_names_it(digits: Tried, fsdd_root: Path, fmt: Format) -> None:
    digits.chosen(fmt)
    answers = set()
    for name in ("7_theo_12", "0_jackson_3", "3_nicolas_20", "9_lucas_1"):
        file = fsdd_root / "recordings" / f"{name}.wav"
        answers.add(digits.given_file(file))
        assert digits.tab.text("#answer") == digits.here(fmt, str(file))
        assert f"student.{fmt} on " in digits.tab.text("#status")
    assert len(answers) > 1


def test_what_is_not_mono_at_8_khz_is_mixed_and_resampled_alike(digits: Tried, fsdd_root: Path, tmp_path: Path) -> None:
    word = corpus_samples(fsdd_root / "recordings" / "5_george_7.wav", 8000)
    digits.chosen("onnx")
    for rate, width, channels in ((44_100, 2, 2), (48_000, 3, 1), (11_025, 4, 3), (4_000, 1, 1)):
        file = written(tmp_path / f"{rate}.wav", resampled(word, 8000, rate) * 0.9, rate, width, channels)
        assert digits.given_file(file) == digits.here("onnx", str(file))


def test_other_sound_files_are_decoded_by_the_browser(digits: Tried, tmp_path: Path, fsdd_root: Path) -> None:
    word = corpus_samples(fsdd_root / "recordings" / "5_george_7.wav", 8000)
    plain = written(tmp_path / "plain.wav", word, 8000).read_bytes()
    floats = tmp_path / "floats.wav"  # a WAV file, but not a PCM one: the command line refuses it
    data = word.astype("<f4").tobytes()
    head = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + plain[8:20] + (3).to_bytes(2, "little") + plain[22:24]
    head += plain[24:28] + (32_000).to_bytes(4, "little") + (4).to_bytes(2, "little") + (32).to_bytes(2, "little")
    floats.write_bytes(head + b"data" + len(data).to_bytes(4, "little") + data)
    assert "% sure)\n(resampled from 48000 Hz)" in digits.given_file(floats)


def test_what_is_no_speech_is_told(digits: Tried, tmp_path: Path) -> None:
    silent = written(tmp_path / "silent.wav", np.zeros(8000), 8000)
    assert "silent throughout" in digits.given_file(silent)
    for name, content, complaint in (
        ("text.wav", b"This is no sound at all.", "no sound that this browser can decode"),
        ("cut.wav", silent.read_bytes()[:1000], "it was cut off"),
        ("header.wav", silent.read_bytes()[:20], "ends within its header"),
        ("empty.wav", silent.read_bytes()[:40] + bytes(4), "holds no samples"),
    ):
        (tmp_path / name).write_bytes(content)
        assert complaint in digits.given_file(tmp_path / name), name
    long = written(tmp_path / "long.wav", np.ones(31 * 4000), 4000)
    assert "31 s long, but may last 30 s" in digits.given_file(long)


def test_the_microphone_is_heard(digits: Tried) -> None:
    """The browser's own test signal: beeps, a second apart."""
    answer = digits.asked(lambda: digits.tab.evaluate("document.querySelector('#record').click()"))
    assert "% sure)" in answer
    assert digits.tab.text("#record") == "Record"
    assert digits.tab.evaluate("document.querySelector('#sound').hidden") is False


def test_in_the_network_a_file_is_answered_and_the_microphone_missing(
    digits: Tried, chromium: Chromium, web_runtimes: Runtimes, fsdd_root: Path
) -> None:
    file = fsdd_root / "recordings" / "7_theo_12.wav"
    assert digits.try_out.page is not None
    try:
        shelf = shelf_for(
            digits.try_out.page, "digits", digits.files, digits.assets, lan=True, port=0, runtimes=web_runtimes
        )
    except DeviceError as error:
        pytest.skip(f"needs a network: {error}")
    there = replace(digits, tab=chromium.tab(shelf.address))
    there.tab.wait_for("['ready', 'failed'].includes(document.body?.dataset.state)")
    there.tab.wait_for("!document.querySelector('#file').disabled")
    for fmt in FORMATS:
        there.chosen(fmt)
        assert there.given_file(file) == digits.here(fmt, str(file))
    assert there.tab.evaluate("document.querySelector('#record').disabled") is True
    assert "only to a page from the device itself" in there.tab.text("#microphone")
    there.tab.close()
    shelf.close()


@pytest.mark.parametrize("length", [1, 4001, 8000, 12_345])
def test_words_become_the_same_maps(digits: Tried, fsdd_root: Path, length: int) -> None:
    clip = np.resize(corpus_samples(fsdd_root / "recordings" / "7_theo_12.wav", 8000), length)
    found = digits.tab.call("core.js", "(x) => Array.from(core.digitsMap(new Float32Array(x)))", clip.tolist())
    np.testing.assert_allclose(np.reshape(found, (40, 101)), log_mel([clip])[0, 0], atol=2e-4)


@pytest.mark.parametrize("length", [1, 400, 5000])
def test_sentences_become_the_same_frames(digits: Tried, length: int) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(length)).astype(np.float32)
    found = digits.tab.call(
        "core.js", "(x) => Array.from(core.sentencesMap(new Float32Array(x)).map)", samples.tolist()
    )
    np.testing.assert_allclose(np.reshape(found, (64, -1)), sentences_log_mel(samples), atol=2e-4)


@pytest.mark.parametrize(("old", "new"), [(44_100, 8000), (48_000, 16_000), (8000, 16_000), (22_050, 8000)])
def test_rates_change_alike(digits: Tried, old: int, new: int) -> None:
    samples = np.random.default_rng(0).standard_normal(1234).astype(np.float32)
    call = "(x, a, b) => Array.from(core.resampled(new Float32Array(x), a, b))"
    found = digits.tab.call("core.js", call, samples.tolist(), old, new)
    np.testing.assert_allclose(found, resampled(samples, old, new), atol=2e-6)


@pytest.mark.parametrize(("rate", "width", "channels"), [(16_000, 2, 1), (8000, 1, 2), (16_000, 3, 3), (11_025, 4, 1)])
def test_wav_files_hold_the_same_samples(digits: Tried, tmp_path: Path, rate: int, width: int, channels: int) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 999)
    file = written(tmp_path / "noise.wav", noise, rate, width, channels)
    due, done = user_samples(file, 16_000)
    call = "(x) => { const s = core.readWav(new Uint8Array(x).buffer, 16000); return [Array.from(s.samples), s.done]; }"
    found, told = digits.tab.call("core.js", call, list(file.read_bytes()))
    np.testing.assert_allclose(found, due, atol=2e-6)
    assert told == done


def test_the_loudest_second_holds_the_word(digits: Tried) -> None:
    samples = np.zeros(20_000)
    samples[9000:12_000] = 0.5
    found = digits.tab.call(
        "core.js", "(x) => Array.from(core.loudestSecond(new Float32Array(x), 8000))", samples.tolist()
    )
    assert len(found) == 8000
    assert np.count_nonzero(found) == 3000


def test_the_likeliest_tokens_are_the_same(digits: Tried) -> None:
    draw = np.random.default_rng(0)
    call = "(v, frames, tokens) => core.greedy({values: new Float32Array(v), frames, tokens})"
    for frames, tokens in ((0, 3), (1, 2), (30, 4), (50, 6)):
        logits = draw.integers(0, 3, (frames, tokens)).astype(np.float32)
        assert digits.tab.call("core.js", call, logits.ravel().tolist(), frames, tokens) == greedy(logits)


def test_the_likeliest_sentence_of_known_words_is_the_same(digits: Tried, task: SentencesTask) -> None:
    """Logits of words as they are spelled, with noise: many hypotheses live, and the bigram decides between some."""
    draw = np.random.default_rng(0)
    beam = DictionaryBeam(task.tokens, task.dictionary, task.bigram)
    call = """(names, words, pairs, v, frames) => {
      const tokens = new core.Tokens(names);
      const beam = new core.DictionaryBeam(tokens, words, new core.Bigram(pairs, words.length));
      return beam.words({values: new Float32Array(v), frames, tokens: names.length});
    }"""
    lengths = set()
    for words in [(*task.words("test")[place], *task.words("test")[place][-1:] * 2) for place in range(0, 12, 2)]:
        spelled = [part for token in task.tokens.encode(words) for part in (token, token, 0)]
        logits = draw.standard_normal((len(spelled), len(task.tokens))).astype(np.float32) * 2
        logits[np.arange(len(spelled)), spelled] += 4
        given = (list(task.tokens.names), list(task.dictionary), task.bigram.pairs, logits.ravel().tolist())
        found = digits.tab.call("core.js", call, *given, len(logits))
        assert found == beam(logits)
        lengths.add(len(found))
    assert max(lengths) > 1


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_stream_is_heard_as_the_command_line_hears_it(
    sentences: Tried, data_root: Path, tmp_path: Path, fmt: Format
) -> None:
    """Three spoken digits one after the other, at 8 kHz: resampled, read in chunks, its caches passed on."""
    names = ("7_theo_12", "0_jackson_3", "3_nicolas_20")
    folder = data_root / "fsdd" / "recordings"
    samples = np.concatenate([corpus_samples(folder / f"{name}.wav", 8000) for name in names])
    file = written(tmp_path / "three.wav", samples, 8000)
    sentences.chosen(fmt)
    answer = sentences.given_file(file)
    assert answer == sentences.here(fmt, str(file))
    assert "token by token: (nothing)" not in answer  # else there would be nothing to compare
    assert "of the input's own time" in sentences.tab.text("#status")
