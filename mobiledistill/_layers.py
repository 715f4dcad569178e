"""What happens inside a module while it answers: the outputs of its layers, and its attention maps."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_ATTEND = functional.scaled_dot_product_attention

__all__ = ["ATTENTION", "layer_shapes", "run_with_layers"]

ATTENTION = "attention"
"""``attention.0`` is the map of the first call of scaled dot-product attention, shape ``(batch, heads, to, from)``."""


def run_with_layers(
    module: nn.Module, inputs: Sequence[Tensor], wanted: Collection[str]
) -> tuple[Any, dict[str, Tensor]]:
    """Calls a module; returns what it returns, and the outputs of the layers wanted, by path.

    Of a layer that returns several tensors it is the first one; of a layer that is called several times the last.
    Attention maps, which no layer returns, are ``attention.0`` and so on, before any dropout.
    """
    if not wanted:
        return module(*inputs), {}
    found: dict[str, Tensor] = {}
    modules = dict(module.named_modules())
    with ExitStack() as stack:
        if any(path.startswith(f"{ATTENTION}.") for path in wanted):
            stack.enter_context(_python_attention())
            stack.enter_context(_AttentionMaps(found, wanted))
        for path in wanted:
            if path in modules:
                stack.enter_context(_listening(modules[path], path, found))
        returned = module(*inputs)
    return returned, found


def layer_shapes(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of every layer's output on example inputs, in the order in which they answer; attention maps last."""
    wanted = [path for path, _ in module.named_modules() if path]
    maps: dict[str, Tensor] = {}
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), _python_attention(), _AttentionMaps(maps, None):
            _, found = run_with_layers(module, inputs, wanted)
    finally:
        module.train(was_training)
    return {path: tuple(value.shape) for path, value in {**found, **maps}.items()}


@contextmanager
def _listening(layer: nn.Module, path: str, found: dict[str, Tensor]) -> Iterator[None]:
    def keep(_: nn.Module, __: object, returned: Any) -> None:
        first = returned if isinstance(returned, Tensor) else _first_tensor(returned)
        if first is not None:
            found[path] = first

    handle = layer.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def _first_tensor(returned: Any) -> Tensor | None:
    values = returned.values() if isinstance(returned, dict) else returned
    return (
        next((v for v in values if isinstance(v, Tensor)), None) if isinstance(returned, tuple | list | dict) else None
    )


@contextmanager
def _python_attention() -> Iterator[None]:
    """Without the fused encoder layer, which computes its attention unseen."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _AttentionMaps(TorchFunctionMode):
    """Computes, beside each call of scaled dot-product attention, the map that it keeps to itself.

    Args:
        found: where maps go.
        wanted: which; None: all.
    """

    def __init__(self, found: dict[str, Tensor], wanted: Collection[str] | None) -> None:
        super().__init__()
        self._found = found
        self._wanted = wanted
        self._calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.multi_head_attention_forward:
            # The mode rests while a function runs, so the call inside this one is caught by its name.
            functional.scaled_dot_product_attention = self._attend
            try:
                return func(*args, **kwargs)
            finally:
                functional.scaled_dot_product_attention = _ATTEND
        return self._attend(*args, **kwargs) if func is _ATTEND else func(*args, **kwargs)

    def _attend(self, *args: Any, **kwargs: Any) -> Tensor:
        name = f"{ATTENTION}.{self._calls}"
        self._calls += 1
        if self._wanted is None or name in self._wanted:
            self._found[name] = _map(*args, **kwargs)
        return _ATTEND(*args, **kwargs)


def _map(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scores = query @ key.transpose(-2, -1) * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(ahead, -math.inf)
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
    return functional.softmax(scores, dim=-1).nan_to_num(0.0)  # a row that sees nothing
