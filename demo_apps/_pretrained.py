"""Loads a Hugging Face checkpoint: JSON, vocabularies and safetensors, never code and never a pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from mobiledistill import InputError, MissingExtraError

__all__ = ["Checkpoint", "Kind", "load_checkpoint"]

_EXTRA = "huggingface"
_WANTED_FILES = ["*.json", "*.txt", "*.model", "*.spm", "*.safetensors"]
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_UNUSED_WEIGHTS = {"wav2vec2.masked_spec_embed"}  # training alone reads it, and checkpoints lack it


@dataclass(frozen=True)
class Kind:
    """What a checkpoint must be.

    Attributes:
        model_type: what its ``config.json`` says.
        model: the class in ``transformers`` that holds the weights.
        processor: the class that prepares inputs, and reads outputs.
    """

    model_type: str
    model: str
    processor: str


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model in evaluation mode, in float32, with its processor: objects of ``transformers``, which loads on use.

    Attributes:
        model: the model.
        processor: the processor or tokenizer.
        folder: where both come from.
    """

    model: Any
    processor: Any
    folder: Path


def load_checkpoint(name_or_folder: str | Path, kind: Kind, revision: str | None = None) -> Checkpoint:
    """Loads a checkpoint from a folder, or from the Hugging Face hub by name.

    From the hub only JSON, vocabularies and safetensors are fetched, into the user's cache; what then happens is the
    same as with a folder, and needs no network.

    Args:
        name_or_folder: a folder as ``save_pretrained`` writes it, or a name like ``"facebook/detr-resnet-50"``.
        kind: what it must be.
        revision: the branch, tag or commit on the hub; None: its main branch.

    Raises:
        MissingExtraError: ``transformers`` is not installed.
        InputError: there is no such checkpoint, it is of another kind, or some of it is missing or damaged.
    """
    transformers = _library("transformers")
    folder = _folder(name_or_folder, revision)
    _check_kind(folder, kind)
    try:
        with _quiet(transformers):
            model, notes = getattr(transformers, kind.model).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are told below, in one line
                output_loading_info=True,
            )
            processor = getattr(transformers, kind.processor).from_pretrained(folder, local_files_only=True)
    except ImportError as error:
        raise InputError(f"{folder} needs a library that is not installed: {_first_line(error)}") from error
    except Exception as error:  # whatever the library and the parsers below it make of a damaged file
        raise InputError(
            f"{folder} cannot be loaded as {kind.model} ({_first_line(error)}): it must hold config.json,"
            " model.safetensors, and the files of its processor; fetch or save it anew."
        ) from error
    lacking = {*notes["missing_keys"], *(key for key, *_ in notes["mismatched_keys"])} - _UNUSED_WEIGHTS
    if lacking:
        raise InputError(
            f"{folder} lacks {len(lacking)} weights of {kind.model}, {min(lacking)} for one, or has them in another"
            " shape: give a checkpoint that was trained as such."
        )
    return Checkpoint(model.eval(), processor, folder)


def _folder(name_or_folder: str | Path, revision: str | None) -> Path:
    """The folder itself, or where the files from the hub are."""
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    if not _NAME.fullmatch(str(name_or_folder)):
        raise InputError(
            f"{name_or_folder} is neither a folder nor a name on the Hugging Face hub: give a folder that"
            " save_pretrained wrote, or a name like 'facebook/detr-resnet-50'."
        )
    hub = _library("huggingface_hub")
    try:
        return Path(hub.snapshot_download(str(name_or_folder), revision=revision, allow_patterns=_WANTED_FILES))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name_or_folder} is no folder here and cannot be fetched from the Hugging Face hub"
            f" ({_first_line(error)}): check the name and the network, or give a folder."
        ) from error


def _check_kind(folder: Path, kind: Kind) -> None:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        found = config["model_type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{folder} has no config.json that names a model_type: give a folder that save_pretrained wrote."
        ) from error
    if found != kind.model_type:
        raise InputError(
            f"{folder} holds a model of type {found!r}, but {kind.model} needs {kind.model_type!r}: give another"
            " checkpoint, or use the teacher for that type."
        )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the library's tables of missing weights: what matters of them becomes an error here."""
    logging = transformers.utils.logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _library(name: str) -> Any:
    # By name: type checkers would read all of transformers, which takes minutes.
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, _EXTRA) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
