"""A .pt2 from anywhere: read whole, or refused in one line; what it hides never runs."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.zoo import ZOO
from converters import InputError, ModelFileError, Program, load_program, save_program
from tests.converters._hostile import HOSTILE, Bomb, edited, records_of


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
        self.register_buffer("shift", torch.ones(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(image)).mean((2, 3))) + self.shift


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = Program(Network().eval(), {"image": torch.randn(1, 1, 8, 8)}, ("logits",))
    return save_program(program, tmp_path_factory.mktemp("sound") / "sound.pt2")


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_in_a_program_is_executed(kind: str, sound: Path, tmp_path: Path) -> None:
    witness = tmp_path / "it-ran"
    hostile = edited(sound, tmp_path / "hostile.pt2", HOSTILE[kind](witness))
    with pytest.raises(ModelFileError, match=r"hostile\.pt2 .*; (export it|do not use it)") as caught:
        load_program(hostile)
    assert "\n" not in str(caught.value)
    assert not witness.exists()


class Sized(nn.Module):
    """Computes with the sizes of what it reads, and returns a mapping."""

    def forward(self, image: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        count, width = image.shape[0], image.shape[-1]
        return {"mean/0": image.flatten(1)[:, : (width * 2 + 1) // 3] * scale, "twice": image.sum() * (count * 2)}


def test_a_program_of_open_sizes_is_read(tmp_path: Path) -> None:
    count = torch.export.Dim("count", min=1, max=64)
    image, scale = torch.randn(2, 1, 9, 9), torch.randn(2, 1)
    sizes = {"image": {0: count}, "scale": {0: count}}
    exported = torch.export.export(Sized(), (image,), kwargs={"scale": scale}, dynamic_shapes=sizes)
    torch.export.save(exported, tmp_path / "open.pt2", extra_files={"note.txt": "of a user"})
    program = load_program(tmp_path / "open.pt2")
    assert program.outputs == ("mean/0", "twice")
    expected = Sized()(image, scale)
    for name, value in program(image=image, scale=scale).items():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("name", ["gru", "keyword-transformer", "fcos", "decoder-only-step", "electra"])
def test_programs_of_all_kinds_come_back(name: str, tmp_path: Path) -> None:
    program = ZOO[name].program()
    back = load_program(save_program(program, tmp_path / "back.pt2"))
    answers, expected = back(**back.inputs), program(**program.inputs)
    assert list(answers) == list(expected)
    for output, value in expected.items():
        torch.testing.assert_close(answers[output], value)


def damaged(whole: bytes) -> dict[str, bytes]:
    flipped = bytearray(whole)
    flipped[flipped.index(b"logits") - 200] ^= 0x10
    return {
        "empty": b"",
        "random": np.random.default_rng(0).bytes(4096),
        "cut": whole[: len(whole) // 2],
        "other kind": b"PK\x03\x04" + bytes(100),
        "turned bit": bytes(flipped),
        "pickle": pickle.dumps(Bomb(Path("it-ran"))),
    }


@pytest.mark.parametrize("kind", ["empty", "random", "cut", "other kind", "turned bit", "pickle"])
def test_a_damaged_program_is_one_clear_line(
    kind: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "damaged.pt2"
    path.write_bytes(damaged(sound.read_bytes())[kind])
    with pytest.raises(
        ModelFileError, match=r"damaged\.pt2 is no \.pt2 archive, or a damaged one.*; export it anew\.$"
    ):
        load_program(path)
    assert [found.name for found in tmp_path.iterdir()] == ["damaged.pt2"]


def squeezed(records: dict[str, bytes]) -> None:
    records["data/weights/weight_0"] = bytes(200_000_000)


def test_a_zip_bomb_is_refused_before_it_is_read(sound: Path, tmp_path: Path) -> None:
    bomb = edited(sound, tmp_path / "bomb.pt2", squeezed, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(ModelFileError, match="keeps its records compressed or shared"):
        load_program(bomb)


def test_a_zip_bomb_that_lies_about_its_size_is_refused(sound: Path, tmp_path: Path) -> None:
    """The directory says that the records are as long as they are packed; what they unpack to is never asked."""
    bomb = edited(sound, tmp_path / "bomb.pt2", squeezed, compression=zipfile.ZIP_DEFLATED)
    content = bytearray(bomb.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 10 : place + 12] = bytes(2)  # stored
        content[place + 24 : place + 28] = content[place + 20 : place + 24]
        place = content.find(b"PK\x01\x02", place + 4)
    bomb.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"is no \.pt2 archive, or a damaged one"):
        load_program(bomb)


def test_records_that_share_their_bytes_are_refused(sound: Path, tmp_path: Path) -> None:
    """A thousand directory entries for one large record would read as a thousand times its bytes."""
    path = edited(
        sound, tmp_path / "shared.pt2", lambda records: records.update({"data/weights/weight_9": bytes(50_000)})
    )
    content = path.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    directory = content[start:end]
    last = directory[directory.rindex(b"PK\x01\x02") :]
    more = b"".join(last.replace(b"weight_9", f"weight_{i:03}"[:8].encode()) for i in range(10, 90))
    tail = bytearray(content[end:])
    count = int.from_bytes(tail[8:10], "little") + 80
    tail[8:10] = tail[10:12] = count.to_bytes(2, "little")
    tail[12:16] = (len(directory) + len(more)).to_bytes(4, "little")
    path.write_bytes(content[:end] + more + tail)
    with pytest.raises(ModelFileError, match=r"compressed or shared|damaged"):
        load_program(path)


def test_a_weight_without_bytes_is_not_filled_with_zeros(sound: Path, tmp_path: Path) -> None:
    def emptied(records: dict[str, bytes]) -> None:
        config = json.loads(records["data/weights/model_weights_config.json"])
        next(iter(config["config"].values()))["tensor_meta"]["sizes"] = [{"as_int": 10**9}, {"as_int": 100}]
        records["data/weights/model_weights_config.json"] = json.dumps(config).encode()
        records["data/weights/weight_0"] = b""

    with pytest.raises(ModelFileError, match=r"holds nothing for the weight 'module\.first\.weight'"):
        load_program(edited(sound, tmp_path / "empty.pt2", emptied))


def test_what_is_not_there_or_another_kind_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_program(tmp_path / "none.pt2")
    with pytest.raises(InputError, match=r"is no \.pt2; save the module"):
        load_program(tmp_path / "model.bin")
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(InputError, match="does not exist"):
        load_program(tmp_path / "folder.pt2")


def test_records_are_those_that_torch_writes(sound: Path) -> None:
    """The allowed list is torch's own: a new kind of record there has to be looked at here."""
    _, records = records_of(sound)
    assert {name.rstrip("0123456789") for name in records} == {
        *(".data/serialization_id", ".data/version", "archive_format", "archive_version", "byteorder"),
        *("data/constants/model_constants_config.json", "data/sample_inputs/model.pt", "models/model.json"),
        *("data/weights/model_weights_config.json", "data/weights/weight_"),
    }
