"""The networks that every converter must write: a small residual CNN, in float and in its own integers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor, nn
from torch.nn import functional as F

_ops = torch.ops.quantized_decomposed


def example_input() -> Tensor:
    """What both networks read under the name ``features``."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return torch.randn(1, 1, 40, 101)


def float_net(width: int = 8) -> nn.Module:
    """The network in float32."""
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return ResidualNet(width, nn.Identity).eval()


def quantized_net(width: int = 8) -> nn.Module:
    """The same network and weights on int8 grids, calibrated on noise; its forward emits quantized_decomposed."""
    with torch.random.fork_rng():
        torch.manual_seed(width)
        network = ResidualNet(width, ActivationGrid).eval()
        with torch.no_grad():
            network(torch.randn(16, 1, 40, 101))
    freeze(network)
    return network


def freeze(network: nn.Module) -> None:
    """Puts weights on int8 grids, and activations on grids over the ranges they have shown so far; in place."""
    for parent in list(network.modules()):
        if isinstance(parent, ActivationGrid):
            parent.settle()
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d | nn.Linear):
                setattr(parent, name, QuantizedLayer(child))


class ResidualNet(nn.Module):
    """A strided convolution, a residual block, a strided one, a depthwise one, average pooling, a linear layer."""

    def __init__(self, width: int, grid: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.input_grid = grid()
        self.stem, self.stem_grid = nn.Conv2d(1, width, 3, stride=2, padding=1), grid()
        self.first, self.first_grid = nn.Conv2d(width, width, 3, padding=1), grid()
        self.second, self.second_grid = nn.Conv2d(width, width, 3, padding=1), grid()
        self.sum_grid = grid()
        self.down, self.down_grid = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), grid()
        self.depthwise, self.depthwise_grid = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width), grid()
        self.head, self.head_grid = nn.Linear(2 * width, 10), grid()

    def forward(self, features: Tensor) -> Tensor:
        x = self.input_grid(features)
        x = self.stem_grid(F.relu(self.stem(x)))
        y = self.first_grid(F.relu(self.first(x)))
        y = self.second_grid(self.second(y))
        x = self.sum_grid(F.relu(x + y))
        x = self.down_grid(F.relu(self.down(x)))
        x = self.depthwise_grid(F.relu(self.depthwise(x)))
        x = self.depthwise_grid(F.adaptive_avg_pool2d(x, 1))  # its output lies on the grid of its input
        return self.head_grid(self.head(x.flatten(1)))


class ActivationGrid(nn.Module):
    """Watches ranges until it is settled, then rounds onto an affine int8 grid."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = 0.0, 1e-3
        self.scale, self.zero_point = 0.0, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == 0.0:
            self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
            return x
        grid = (self.scale, self.zero_point, -128, 127, torch.int8)
        return _ops.dequantize_per_tensor.default(_ops.quantize_per_tensor.default(x, *grid), *grid)

    def settle(self) -> None:
        """Covers what was seen with 256 steps; the scale is one that float16 holds exactly."""
        self.scale = float(torch.tensor((self.high - self.low) / 255).half())
        self.zero_point = max(-128, min(127, round(-128 - self.low / self.scale)))


class QuantizedLayer(nn.Module):
    """A convolution or linear layer whose weight lies on one symmetric int8 grid per output channel."""

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        scale = (weight.abs().flatten(1).amax(1) / 127).half().float()
        column = scale.view(-1, *[1] * (weight.dim() - 1))
        self.register_buffer("weight", (weight / column).round().clamp(-127, 127) * column)
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight_zero_point", torch.zeros(len(scale), dtype=torch.int64))
        self.register_buffer("bias", layer.bias.detach().clone())
        self.geometry = None
        if isinstance(layer, nn.Conv2d):
            self.geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)

    def forward(self, x: Tensor) -> Tensor:
        grid = (self.weight_scale, self.weight_zero_point, 0, -127, 127, torch.int8)
        weight = _ops.dequantize_per_channel.default(_ops.quantize_per_channel.default(self.weight, *grid), *grid)
        if self.geometry is None:
            return F.linear(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, *self.geometry)
