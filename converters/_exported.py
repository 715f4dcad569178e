"""Programs on disk: torch's .pt2 archives, read without running what they may hide."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

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
    """Reads a .pt2 that ``torch.export.save`` or ``save_program`` wrote, as one signature ``main``.

    Keyword arguments and the keys of a returned mapping become names; arguments keep those of ``forward``, and what
    else is returned is called ``output_0``, ``output_1``. Values that are no tensors stay as they were exported. Where
    the batch is dynamic, one sample of the example inputs is taken; any other dynamic axis keeps its example's length.

    The archive is inspected first, for ``torch.export.load`` runs what a hostile one carries; only plain programs pass.

    Raises:
        InputError: there is no such file, it is no .pt2, or it was exported for a batch of several samples alone.
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
            return _program(path, torch.export.load(archive))
    except MobileDistillError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(f"{path} is damaged or from another torch ({reason[:200]}); export it anew.") from None


class _Flat(nn.Module):
    """An exported program behind positional tensors: structures of arguments put together, those of answers apart.

    Args:
        exported: what a .pt2 holds.
        leaves: its example arguments, flattened; those that are no tensors are given with every call.
    """

    def __init__(self, exported: torch.export.ExportedProgram, leaves: list[Any]) -> None:
        super().__init__()
        self.program = exported.module(check_guards=False)
        self._structure = exported.call_spec.in_spec
        self._leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.answers(*inputs).values())

    def answers(self, *inputs: Tensor) -> dict[str, Tensor]:
        """What is returned, by name."""
        leaves = list(self._leaves)
        for place, value in zip(self._places, inputs, strict=True):
            leaves[place] = value
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        returned, _ = pytree.tree_flatten_with_path(self.program(*args, **kwargs))
        return {_name(place): value for place, value in returned if isinstance(value, Tensor)}

    def train(self, mode: bool = True) -> _Flat:
        return self  # an exported program has one mode, the one it was exported in


def _program(path: Path, exported: torch.export.ExportedProgram) -> Program:
    given: list[tuple[Any, Any]] = pytree.tree_flatten_with_path(exported.example_inputs or ((), {}))[0]
    arguments = exported.graph_signature.user_inputs
    inputs = {}
    for (place, value), argument in zip(given, arguments, strict=True):
        of_keyword = place[0].idx == 1 and len(place) == 2
        if isinstance(value, Tensor):
            inputs[place[1].key if of_keyword else str(argument)] = value
    if not inputs:
        raise ModelFileError(f"{path} carries no example inputs that are tensors; export it with tensor inputs.")
    module = _Flat(exported, [value for _, value in given])
    with torch.no_grad():
        outputs = tuple(module.answers(*inputs.values()))
    return Program(module, _one_sample(path, inputs, _fixed(exported)), outputs)


def _name(place: tuple[Any, ...]) -> str:
    """What a returned value is called: by its key, or ``output_0`` by its number; deeper ones by all of them."""
    keys = [str(getattr(key, "key", getattr(key, "idx", key))) for key in place] or ["0"]
    named = bool(place) and not isinstance(place[0], pytree.SequenceKey)
    return "_".join(keys if named else ["output", *keys])


def _fixed(exported: torch.export.ExportedProgram) -> bool:
    """Whether an input's leading axis cannot be another than it was."""
    wanted = set(exported.graph_signature.user_inputs)
    inputs = [node for node in exported.graph.find_nodes(op="placeholder") if node.name in wanted]
    shapes = [node.meta["val"].shape for node in inputs if isinstance(node.meta.get("val"), Tensor)]
    return any(not shape or (isinstance(shape[0], int) and shape[0] != 1) for shape in shapes)


def _one_sample(path: Path, inputs: Mapping[str, Tensor], fixed: bool) -> dict[str, Tensor]:
    if fixed:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
        raise InputError(
            f"{path} was exported for {shapes}, but files answer one sample: export it with leading axes of 1, or"
            " dynamic ones (dynamic_shapes)."
        )
    return {name: value[:1] for name, value in inputs.items()}
