from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters._errors import ModelFileError
from tests.converters.coreml.executor._oracle import inferred, noise, output, outputs, quick, seeds

X = noise((2, 3, 4), 0)

CASES: dict[str, tuple[str, dict[str, Any], np.ndarray]] = {
    "concat": ("concat", {"values": [X, X + 1], "axis": 1}, np.concatenate([X, X + 1], 1)),
    "interleave": (
        "concat",
        {"values": [X, X + 1], "axis": 1, "interleave": True},
        np.stack([X, X + 1], 2).reshape(2, 6, 4),
    ),
    "crop": ("crop", {"x": X, "crop_height": [1, 0], "crop_width": [1, 2]}, X[:, 1:, 1:-2]),
    "expand_dims": ("expand_dims", {"x": X, "axes": [0, -1]}, X[None, ..., None]),
    "flatten2d": ("flatten2d", {"x": X, "axis": 2}, X.reshape(6, 4)),
    "gather": (
        "gather",
        {"x": X, "indices": np.array([[2, 0], [-1, 1]], np.int32), "axis": 1},
        X[:, [[2, 0], [-1, 1]]],
    ),
    "reshape": ("reshape", {"x": X, "shape": [4, -1]}, X.reshape(4, 6)),
    "reverse": ("reverse", {"x": X, "axes": [0, 2]}, X[::-1, :, ::-1]),
    "slice_by_size": ("slice_by_size", {"x": X, "begin": [0, 1, 2], "size": [1, -1, 2]}, X[:1, 1:, 2:]),
    "squeeze": ("squeeze", {"x": X[:, None, :, None], "axes": [1, 3]}, X),
    "stack": ("stack", {"values": [X, X + 1], "axis": -1}, np.stack([X, X + 1], -1)),
    "tile": ("tile", {"x": X, "reps": [1, 2, 3]}, np.tile(X, (1, 2, 3))),
    "transpose": ("transpose", {"x": X, "perm": [2, 0, 1]}, X.transpose(2, 0, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_only_move(name: str) -> None:
    operator, arguments, expected = CASES[name]

    answer = output(operator, **arguments)

    assert np.array_equal(answer, expected)
    if name not in ("crop", "interleave", "reverse"):
        assert np.array_equal(answer, inferred(operator, **arguments))


PICTURE = noise((2, 8, 4, 6), 0)


@pytest.mark.parametrize(("operator", "size"), [("depth_to_space", "block_size"), ("space_to_depth", "block_size")])
def test_blocks_are_those_of_coremltools(operator: str, size: str) -> None:
    """Its own inference has none of them; what they mean is said by the transposition that it documents."""
    answer = output(operator, x=PICTURE, **{size: 2})
    if operator == "depth_to_space":
        assert answer.shape == (2, 2, 8, 12)
        assert np.array_equal(answer[:, :, 1::2, 0::2], PICTURE[:, 4:6])  # block (1, 0) holds channels 4 and 5
        assert np.array_equal(output("space_to_depth", x=answer, block_size=2), PICTURE)
    else:
        assert answer.shape == (2, 32, 2, 3)
        assert np.array_equal(answer[:, 8:16], PICTURE[:, :, 0::2, 1::2])


def test_pixels_are_shuffled_as_torch_does() -> None:
    import torch

    shuffled = output("pixel_shuffle", x=PICTURE, upscale_factor=2)
    assert np.array_equal(shuffled, torch.nn.functional.pixel_shuffle(torch.from_numpy(PICTURE), 2).numpy())
    assert np.array_equal(output("pixel_unshuffle", x=shuffled, downscale_factor=2), PICTURE)


def test_a_zero_in_a_shape_takes_the_axis_over() -> None:
    assert output("reshape", x=X, shape=[0, -1]).shape == (2, 12)


@pytest.mark.parametrize(("mode", "name"), [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge")])
@quick
@given(seed=seeds, rows=st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_padding(mode: str, name: str, seed: int, rows: list[int]) -> None:
    x = noise((2, 3, 4), seed)
    pairs = [(0, 0), (rows[0], rows[1]), (rows[2], rows[3])]
    expected = np.pad(x, pairs, name, **({"constant_values": 0.5} if mode == "constant" else {}))

    answer = output("pad", x=x, pad=rows, mode=mode, constant_val=np.float32(0.5))

    assert np.array_equal(answer, expected)
    if mode == "constant":
        assert np.array_equal(answer, inferred("pad", x=x, pad=rows, mode=mode, constant_val=np.float32(0.5)))


@quick
@given(
    begin=st.lists(st.integers(-3, 2), min_size=2, max_size=2),
    end=st.lists(st.integers(-3, 6), min_size=2, max_size=2),
    stride=st.lists(st.sampled_from([-2, -1, 1, 2]), min_size=2, max_size=2),
    no_begin=st.lists(st.booleans(), min_size=2, max_size=2),
    no_end=st.lists(st.booleans(), min_size=2, max_size=2),
    single=st.lists(st.booleans(), min_size=2, max_size=2),
)
def test_slices_are_those_of_numpy(
    begin: list[int],
    end: list[int],
    stride: list[int],
    no_begin: list[bool],
    no_end: list[bool],
    single: list[bool],
) -> None:
    x = noise((4, 5), 0)
    picks: list[Any] = [
        begin[axis]
        if single[axis]
        else slice(None if no_begin[axis] else begin[axis], None if no_end[axis] else end[axis], stride[axis])
        for axis in range(2)
    ]

    answer = output(
        "slice_by_index",
        x=x,
        begin=begin,
        end=end,
        stride=stride,
        begin_mask=no_begin,
        end_mask=no_end,
        squeeze_mask=single,
    )

    assert np.array_equal(answer, x[tuple(picks)])


def test_splits() -> None:
    halves = outputs("split", x=X, num_splits=2, axis=2)
    parts = outputs("split", x=X, split_sizes=[1, 2], axis=1)

    assert [part.shape for part in halves] == [(2, 3, 2), (2, 3, 2)]
    assert np.array_equal(np.concatenate(halves, 2), X)
    assert [part.shape for part in parts] == [(2, 1, 4), (2, 2, 4)]
    assert np.array_equal(np.concatenate(parts, 1), X)


def test_gather_with_batch_axes_is_refused() -> None:
    with pytest.raises(ModelFileError, match="gather has batch axes"):
        output("gather", x=X, indices=np.zeros((2, 1), np.int32), axis=1, batch_dims=1)
