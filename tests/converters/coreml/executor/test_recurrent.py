from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from converters import ModelFileError
from tests.converters.coreml.executor._oracle import noise, outputs, quick, seeds


def _gates(weight: torch.Tensor) -> np.ndarray:
    """Torch stacks input, forget, cell, output; the format input, forget, output, cell."""
    entry, forget, cell, exit_ = weight.detach().chunk(4)
    return torch.cat([entry, forget, exit_, cell]).numpy()


@quick
@given(
    seed=seeds,
    steps=st.integers(1, 5),
    batch=st.integers(1, 3),
    direction=st.sampled_from(("forward", "reverse", "bidirectional")),
    output_sequence=st.booleans(),
)
def test_lstm_answers_as_torch_does(seed: int, steps: int, batch: int, direction: str, output_sequence: bool) -> None:
    torch.manual_seed(seed)
    both = direction == "bidirectional"
    layer = nn.LSTM(4, 3, bidirectional=both)
    x = noise((steps, batch, 4), seed)
    hidden, cell = noise((1 + both, batch, 3), seed + 1), noise((1 + both, batch, 3), seed + 2)
    read = torch.from_numpy(x).flip(0) if direction == "reverse" else torch.from_numpy(x)
    with torch.no_grad():
        expected, (last_hidden, last_cell) = layer(read, (torch.from_numpy(hidden), torch.from_numpy(cell)))
    if direction == "reverse":
        expected = expected.flip(0)
    weights = {}
    for suffix, torchs in (("", ""), *((("_back", "_reverse"),) if both else ())):
        weights[f"weight_ih{suffix}"] = _gates(getattr(layer, f"weight_ih_l0{torchs}"))
        weights[f"weight_hh{suffix}"] = _gates(getattr(layer, f"weight_hh_l0{torchs}"))
        biases = getattr(layer, f"bias_ih_l0{torchs}") + getattr(layer, f"bias_hh_l0{torchs}")
        weights[f"bias{suffix}"] = _gates(biases)

    sequence, found_hidden, found_cell = outputs(
        "lstm",
        x=x,
        initial_h=np.concatenate(list(hidden), -1),
        initial_c=np.concatenate(list(cell), -1),
        direction=direction,
        output_sequence=output_sequence,
        **weights,
    )

    last = np.concatenate(list(last_hidden.numpy()), -1)
    np.testing.assert_allclose(sequence, expected.numpy() if output_sequence else last[None], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found_hidden, last, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found_cell, np.concatenate(list(last_cell.numpy()), -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("other", "told"),
    [({"clip": np.float32(1.0)}, "'clip'"), ({"activation": "softsign"}, "activation 'softsign'")],
)
def test_what_it_does_not_know_is_named(other: dict[str, object], told: str) -> None:
    with pytest.raises(ModelFileError, match=told):
        outputs(
            "lstm",
            x=noise((2, 1, 4), 0),
            initial_h=noise((1, 3), 1),
            initial_c=noise((1, 3), 2),
            weight_ih=noise((12, 4), 3),
            weight_hh=noise((12, 3), 4),
            **other,
        )
