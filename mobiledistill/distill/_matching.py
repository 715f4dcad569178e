"""Which layer of the student learns from which of the teacher: given by hand, or found by shape and depth."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from torch import Tensor

from converters import InputError
from mobiledistill._layers import ATTENTION
from mobiledistill.distill._base import Pair

__all__ = ["LayerPair", "layer_width", "matched_attention", "matched_layers", "pooled"]

LayerPair = tuple[str, str]
"""Paths in the student and in the teacher."""

Shapes = Mapping[str, tuple[int, ...]]


def matched_layers(
    pair: Pair, given: Mapping[str, str] | None, dimensions: tuple[int, ...] = (4, 3, 2)
) -> list[LayerPair]:
    """The pairs given, checked; or those found.

    Found are: of maps ``(batch, channels, height, width)`` the last layer of each size, paired with the teacher's last
    of that size or, where it has none, of the nearest; of sequences ``(batch, positions, width)`` the first layer, an
    embedding as a rule, and every block, spread evenly over the teacher's; of vectors the last hidden layer.

    Args:
        pair: student and teacher.
        given: paths in the student to paths in the teacher; None: find them.
        dimensions: of the outputs that are wanted.

    Raises:
        InputError: a path does not exist, nothing can be found, or the teacher has no layers.
    """
    if not pair.teacher_layers:
        raise InputError(
            "This loss compares layers, but the teacher has none to look into (it is a file, or there is no teacher):"
            " give a torch module, or a loss of outputs such as SoftTargets."
        )
    if given is not None:
        return _checked(pair, given, dimensions)
    found: list[LayerPair] = []
    for count in dimensions:
        student, teacher = (_of(layers, count, pair) for layers in (pair.student_layers, pair.teacher_layers))
        if not student or not teacher:
            continue
        if count == 4:
            found += _stages(student, teacher)
        elif count == 3:
            found += _blocks(student, teacher)
        elif not found:  # behind maps and sequences a vector adds little
            found.append((list(student)[-1], list(teacher)[-1]))
    if not found:
        raise InputError(
            f"No layers of student and teacher go together: neither has outputs of {_or(dimensions)} dimensions where"
            " the other has. Name them with layers={'path in the student': 'path in the teacher'}."
        )
    return list(dict.fromkeys(found))


def matched_attention(pair: Pair) -> list[LayerPair]:
    """Attention maps of the student, each with one of the teacher's, spread evenly over its depth.

    Raises:
        InputError: one of the two calls no scaled dot-product attention.
    """
    maps = [
        [path for path in layers if path.startswith(f"{ATTENTION}.")]
        for layers in (pair.student_layers, pair.teacher_layers)
    ]
    for whose, found in zip(("student", "teacher"), maps, strict=True):
        if not found:
            raise InputError(
                f"The {whose} has no attention to compare: it never calls torch's scaled_dot_product_attention; write"
                " its attention with that function or with nn.MultiheadAttention, or take another loss."
            )
    fitting = [
        (one, other)
        for one, other in _evenly(*maps)
        if pair.student_layers[one][-2:] == pair.teacher_layers[other][-2:]
    ]
    if not fitting:
        raise InputError("No attention map of the student is of the size of the teacher's there: take another loss.")
    return fitting


def layer_width(shape: tuple[int, ...]) -> int:
    """Channels of maps, width of sequences and vectors."""
    return shape[-1] if len(shape) == 3 else shape[1]


def pooled(seen: Tensor) -> Tensor:
    """A layer's output averaged over its places, ``(batch, width)``."""
    if seen.dim() == 3:
        return seen.mean(1)
    return seen.flatten(2).mean(2) if seen.dim() > 3 else seen


def _checked(pair: Pair, given: Mapping[str, str], dimensions: tuple[int, ...]) -> list[LayerPair]:
    for paths, layers, whose in (
        (given.keys(), pair.student_layers, "student"),
        (given.values(), pair.teacher_layers, "teacher"),
    ):
        for path in paths:
            if path not in layers:
                near = [known for known in layers if known.split(".")[0] == path.split(".")[0]] or list(layers)
                raise InputError(
                    f"The {whose} has no layer {path!r}; it has {', '.join(near[:8])}{' ...' if near[8:] else ''}."
                )
            if len(layers[path]) not in dimensions:
                raise InputError(
                    f"The {whose}'s layer {path!r} answers in shape {layers[path]}; this loss compares outputs of"
                    f" {_or(dimensions)} dimensions."
                )
    for one, other in given.items():
        if len(pair.student_layers[one]) != len(pair.teacher_layers[other]):
            raise InputError(
                f"The layers {one!r} {pair.student_layers[one]} and {other!r} {pair.teacher_layers[other]} have"
                " different numbers of dimensions: pair maps with maps, sequences with sequences."
            )
    return list(given.items())


def _of(layers: Shapes, count: int, pair: Pair) -> Shapes:
    """Layers whose outputs have so many dimensions and are no answers of the whole model."""
    answers = {output.shape for output in pair.outputs.values()}
    return {
        path: shape
        for path, shape in layers.items()
        if len(shape) == count and shape not in answers and not path.startswith(f"{ATTENTION}.")
    }


def _stages(student: Shapes, teacher: Shapes) -> list[LayerPair]:
    last, others = ({shape[2:]: path for path, shape in layers.items()} for layers in (student, teacher))
    return [
        (path, others[min(others, key=lambda size: abs(prod(size) - prod(wanted)))])
        for wanted, path in last.items()
        if prod(wanted) > 1
    ]


def _blocks(student: Shapes, teacher: Shapes) -> list[LayerPair]:
    first = (next(iter(student)), next(iter(teacher)))
    blocks = [_repeated(layers) or [list(layers)[-1]] for layers in (student, teacher)]
    return [first, *_evenly(*blocks)]


def _repeated(layers: Shapes) -> list[str]:
    """Paths that end in a number, of the shallowest depth where there are any."""
    numbered = [path for path in layers if path.rpartition(".")[2].isdigit()]
    depth = min((path.count(".") for path in numbered), default=0)
    return [path for path in numbered if path.count(".") == depth]


def _evenly(student: list[str], teacher: list[str]) -> list[LayerPair]:
    """The n-th of the student with that of the teacher at the same share of its depth; the last with the last."""
    share = len(teacher) / len(student)
    return [(path, teacher[max(0, round((place + 1) * share) - 1)]) for place, path in enumerate(student)]


def _or(dimensions: tuple[int, ...]) -> str:
    return " or ".join(map(str, sorted(dimensions)))
