from __future__ import annotations

import numpy as np
import pytest

from tests.converters.coreml.executor._oracle import noise, output

QUERY, KEY, VALUE = noise((2, 3, 4), 0), noise((2, 5, 4), 1), noise((2, 5, 4), 2)


@pytest.mark.parametrize("kind", ["none", "flags", "numbers"])
def test_attention_is_softmax_of_scaled_products(kind: str) -> None:
    visible = noise((2, 3, 5), 3) > 0
    visible[..., 0] = True
    added = noise((2, 3, 5), 4)
    scores = QUERY @ KEY.transpose(0, 2, 1) / 2
    if kind == "flags":
        scores = np.where(visible, scores, -np.inf)
    elif kind == "numbers":
        scores = scores + added
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mask = {"none": {}, "flags": {"attn_mask": visible}, "numbers": {"attn_mask": added}}[kind]

    answer = output("scaled_dot_product_attention", query=QUERY, key=KEY, value=VALUE, **mask)

    np.testing.assert_allclose(answer, shares @ VALUE, rtol=1e-5, atol=1e-6)
