"""Programs on disk: torch's .pt2 archives, read without running what they may hide."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from converters._archive import plain_archive
from converters._errors import InputError, MobileDistillError, ModelFileError
from converters._program import Program, export_program
from converters._quiet import quiet

__all__ = ["load_program", "save_program"]


def save_program(program: Program, path: Path) -> Path:
    """Writes one signature as a .pt2 that ``load_program`` (and ``torch.export.load``) reads back."""
    import torch.ao.quantization.fx._decomposed

    aside = path.with_name(f".{path.stem}.partial.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(export_program(program), aside)
    aside.replace(path)
    return path


def load_program(path: Path) -> Program:
    """Reads a .pt2, named inputs and outputs included.

    The archive is inspected first, for ``torch.export.load`` runs what a hostile one carries; only plain programs pass.

    Raises:
        InputError: there is no such file, or it is no .pt2.
        ModelFileError: the archive is damaged, or unsafe to open.
    """
    import torch.ao.quantization.fx._decomposed

    if path.suffix != ".pt2":
        raise InputError(
            f"{path} is no .pt2; save the module with torch.export.save(torch.export.export(module, inputs), 'x.pt2')."
        )
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of a .pt2.")
    archive = plain_archive(path)
    try:
        with quiet():
            exported = torch.export.load(archive)
            return _program(path, exported)
    except MobileDistillError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(f"{path} is damaged or from another torch ({reason[:200]}); export it anew.") from None


class _Positional(nn.Module):
    """An exported program behind positional arguments, in the order of its inputs' names."""

    def __init__(self, exported: torch.export.ExportedProgram, names: tuple[str, ...], keywords: set[str]) -> None:
        super().__init__()
        self.program = exported.module(check_guards=False)
        self._names = names
        self._keywords = keywords

    def forward(self, *inputs: Tensor) -> Any:
        positional = [value for name, value in zip(self._names, inputs, strict=True) if name not in self._keywords]
        named = {name: value for name, value in zip(self._names, inputs, strict=True) if name in self._keywords}
        return self.program(*positional, **named)

    def train(self, mode: bool = True) -> _Positional:
        return self  # an exported program has one mode, the one it was exported in


def _program(path: Path, exported: torch.export.ExportedProgram) -> Program:
    args, kwargs = exported.example_inputs or ((), {})
    names = tuple(exported.graph_signature.user_inputs)
    positional = {str(name): value for name, value in zip(names, args, strict=False)}
    inputs = {**positional, **kwargs}
    if not inputs or not all(isinstance(value, Tensor) for value in inputs.values()):
        raise ModelFileError(f"{path} carries no example inputs that are tensors; export it with tensor inputs.")
    context = exported.call_spec.out_spec.context if exported.call_spec.out_spec is not None else None
    count = len(exported.graph_signature.user_outputs)
    outputs = tuple(context) if isinstance(context, list) else tuple(f"output_{i}" for i in range(count))
    return Program(_Positional(exported, tuple(inputs), set(kwargs)), inputs, outputs)
