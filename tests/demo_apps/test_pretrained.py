"""Loading checkpoints: what is fetched, what is refused, and that nothing in a folder is ever run."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from demo_apps._pretrained import Kind, load_checkpoint
from mobiledistill import InputError, MissingExtraError

transformers = pytest.importorskip("transformers")
hub = pytest.importorskip("huggingface_hub")

YOLOS = Kind("yolos", "YolosForObjectDetection", "YolosImageProcessorPil")


def save_yolos(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    config = transformers.YolosConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=[32, 32],
        num_detection_tokens=2,
        id2label={0: "cat"},
        label2id={"cat": 0},
    )
    transformers.YolosForObjectDetection(config).to(dtype).save_pretrained(folder)
    transformers.YolosImageProcessorPil().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_yolos(tmp_path / "yolos")


def test_a_folder_gives_the_saved_weights_ready_to_answer(folder: Path) -> None:
    checkpoint = load_checkpoint(folder, YOLOS)
    assert not checkpoint.model.training
    torch.manual_seed(0)  # what the folder was made with
    saved = transformers.YolosForObjectDetection(checkpoint.model.config).state_dict()
    torch.testing.assert_close(dict(checkpoint.model.state_dict()), dict(saved), rtol=0, atol=0)


def test_half_precision_is_widened(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(save_yolos(tmp_path, torch.float16), YOLOS)
    assert {weight.dtype for weight in checkpoint.model.parameters()} == {torch.float32}


def test_a_name_fetches_no_pickle_and_no_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import filter_repo_objects

    asked: dict[str, Any] = {}

    def fetch(name: str, **options: Any) -> str:
        asked.update(name=name, **options)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    load_checkpoint("hustvl/yolos-small", YOLOS, "v1")
    assert (asked["name"], asked["revision"]) == ("hustvl/yolos-small", "v1")
    files = ["config.json", "merges.txt", "source.spm", "model.safetensors", "pytorch_model.bin", "modeling_yolos.py"]
    kept = list(filter_repo_objects(files, allow_patterns=asked["allow_patterns"]))
    assert kept == ["config.json", "merges.txt", "source.spm", "model.safetensors"]


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, **options: Any) -> str:
        raise hub.errors.LocalEntryNotFoundError("Cannot reach the hub.\nMore words.")

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    with pytest.raises(InputError, match=r"^hustvl/.*\(Cannot reach the hub\.\): check the name") as refused:
        load_checkpoint("hustvl/yolos-small", YOLOS)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "../a/b", "a/b/c", "two words"])
def test_neither_folder_nor_name(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match="neither a folder nor a name"):
        load_checkpoint(name, YOLOS)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"transformers is not installed.*mobiledistill\[huggingface\]"):
        load_checkpoint(folder, YOLOS)


def test_another_kind(folder: Path) -> None:
    with pytest.raises(InputError, match="holds a model of type 'yolos', but DetrForObjectDetection needs 'detr'"):
        load_checkpoint(folder, Kind("detr", "DetrForObjectDetection", "DetrImageProcessorPil"))


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", "\udcff"])
def test_no_usable_config(folder: Path, text: str | None) -> None:
    config = folder / "config.json"
    config.unlink() if text is None else config.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"has no config\.json that names a model_type"):
        load_checkpoint(folder, YOLOS)


@pytest.mark.parametrize("missing", ["model.safetensors", "preprocessor_config.json"])
def test_a_missing_file(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(InputError, match="cannot be loaded as YolosForObjectDetection") as refused:
        load_checkpoint(folder, YOLOS)
    assert "\n" not in str(refused.value)


def test_weights_cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be loaded as YolosForObjectDetection"):
        load_checkpoint(folder, YOLOS)


def test_weights_of_another_network(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["vit.layernorm.bias"]
    weights["vit.layernorm.weight"] = torch.ones(3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    capfd.readouterr()
    with pytest.raises(InputError, match=r"lacks 2 weights of YolosForObjectDetection, vit\.layernorm\.bias for one"):
        load_checkpoint(folder, YOLOS)
    assert "MISSING" not in capfd.readouterr().err


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_checkpoint(folder, YOLOS)
    assert not (tmp_path / "ran").exists()


def test_code_beside_the_weights_is_never_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / "modeling_mine.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    named = {"config.json": "AutoModelForObjectDetection", "preprocessor_config.json": "AutoImageProcessor"}
    for name, key in named.items():
        contents = json.loads((folder / name).read_text())
        contents["auto_map"] = {key: "modeling_mine.Mine"}
        (folder / name).write_text(json.dumps(contents))
    load_checkpoint(folder, YOLOS)
    assert not mark.exists()


PAGE = Path(__file__).parents[2] / "docs" / "huggingface.md"


def test_the_page_uses_names_and_arguments_that_exist() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        tree = ast.parse(block)
        names: dict[str, Any] = {}
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), str(PAGE), "exec"), names)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = eval(ast.unparse(call.func), names)
            if called not in (list, Path, dict.fromkeys):
                keywords = {str(keyword.arg): None for keyword in call.keywords}
                inspect.signature(called).bind(*call.args, **keywords)
