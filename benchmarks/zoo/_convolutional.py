"""Convolutional networks: keywords, images, boxes, masks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo._network import Network, spectrograms

__all__ = ["CONVOLUTIONAL"]

Activation = Callable[[], nn.Module]


def _norm_conv(
    inside: int,
    outside: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = nn.ReLU,
    dilation: int = 1,
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(inside, outside, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outside),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def _separable(inside: int, outside: int, stride: int = 1, activation: Activation = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(
        _norm_conv(inside, inside, 3, stride, groups=inside, activation=activation),
        _norm_conv(inside, outside, 1, activation=activation),
    )


def _classifier(features: nn.Module, channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def ds_cnn() -> nn.Module:
    """Depthwise separable convolutions on a spectrogram (Zhang et al. 2017, "Hello Edge")."""
    body = [_separable(64, 64) for _ in range(4)]
    return _classifier(nn.Sequential(_norm_conv(1, 64, 5, 2), *body), 64, 12)


class _NormAfterReLU(nn.Module):
    """The residual block of keyword ResNets: convolution, ReLU, norm (Tang and Lin 2018)."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.first_norm = nn.BatchNorm2d(channels, affine=True)
        self.second_norm = nn.BatchNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first_norm(F.relu(self.first(x)))
        return self.second_norm(F.relu(self.second(y)) + x)


def keyword_resnet8() -> nn.Module:
    """res8-narrow: average pooling first, norm after the ReLU."""
    stem = nn.Sequential(nn.Conv2d(1, 19, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d((4, 3)))
    return _classifier(nn.Sequential(stem, *[_NormAfterReLU(19) for _ in range(3)]), 19, 12)


def keyword_resnet15() -> nn.Module:
    """res15-narrow: dilations that grow."""
    stem = nn.Sequential(nn.Conv2d(1, 19, 3, padding=1, bias=False), nn.ReLU())
    return _classifier(nn.Sequential(stem, *[_NormAfterReLU(19, 2 ** (i // 3)) for i in range(6)]), 19, 12)


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, gate: Activation = nn.Hardsigmoid, reduction: int = 4) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // reduction, 1)
        self.expand = nn.Conv2d(channels // reduction, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        scale = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(F.relu(self.reduce(scale))))


class _InvertedResidual(nn.Module):
    """Expand, depthwise, (squeeze and excite,) project; added to its input where the shapes allow."""

    def __init__(
        self,
        inside: int,
        outside: int,
        expand: int,
        stride: int = 1,
        kernel: int = 3,
        activation: Activation = nn.ReLU6,
        squeeze: Activation | None = None,
        first_depthwise: int = 0,
    ) -> None:
        super().__init__()
        middle = inside * expand
        layers: list[nn.Module] = []
        if first_depthwise:
            layers.append(_norm_conv(inside, inside, first_depthwise, groups=inside, activation=None))
        layers += [
            _norm_conv(inside, middle, 1, activation=activation),
            _norm_conv(middle, middle, kernel, stride, groups=middle, activation=activation),
        ]
        if squeeze:
            layers.append(_SqueezeExcite(middle, squeeze))
        layers.append(_norm_conv(middle, outside, 1, activation=None))
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.adds else y


def mobilenet_v1() -> nn.Module:
    """Depthwise separable convolutions on images (Howard et al. 2017)."""
    return _classifier(
        nn.Sequential(
            _norm_conv(3, 16, 3, 2),
            _separable(16, 32),
            _separable(32, 64, 2),
            _separable(64, 64),
            _separable(64, 128, 2),
            _separable(128, 128),
        ),
        128,
        10,
    )


def mobilenet_v2() -> nn.Module:
    """Inverted residuals with linear bottlenecks (Sandler et al. 2018)."""
    return _classifier(
        nn.Sequential(
            _norm_conv(3, 16, 3, 2, activation=nn.ReLU6),
            _InvertedResidual(16, 24, 4, 2),
            _InvertedResidual(24, 24, 4),
            _InvertedResidual(24, 40, 4, 2),
            _InvertedResidual(40, 40, 4),
            _norm_conv(40, 160, 1, activation=nn.ReLU6),
        ),
        160,
        10,
    )


def mobilenet_v3() -> nn.Module:
    """Squeeze-and-excite, hard swish (Howard et al. 2019)."""
    block = functools.partial(_InvertedResidual, activation=nn.Hardswish, squeeze=nn.Hardsigmoid)
    return _classifier(
        nn.Sequential(
            _norm_conv(3, 16, 3, 2, activation=nn.Hardswish),
            block(16, 24, 4, 2, 5),
            block(24, 24, 4, 1, 5),
            block(24, 40, 4, 2, 5),
            _norm_conv(40, 160, 1, activation=nn.Hardswish),
        ),
        160,
        10,
    )


def mobilenet_v4() -> nn.Module:
    """Universal inverted bottlenecks: a depthwise convolution may stand first (Qin et al. 2024)."""
    block = functools.partial(_InvertedResidual, activation=nn.ReLU)
    return _classifier(
        nn.Sequential(
            _norm_conv(3, 16, 3, 2),
            block(16, 32, 4, 2, 5, first_depthwise=5),
            block(32, 32, 4, 1, 3, first_depthwise=3),
            block(32, 48, 4, 2, 3),
            _norm_conv(48, 96, 1),
        ),
        96,
        10,
    )


def efficientnet_lite() -> nn.Module:
    """EfficientNet without squeeze-and-excite and with ReLU6, made for integers (Liu 2020)."""
    return _classifier(
        nn.Sequential(
            _norm_conv(3, 16, 3, 2, activation=nn.ReLU6),
            _InvertedResidual(16, 24, 6, 2),
            _InvertedResidual(24, 24, 6),
            _InvertedResidual(24, 40, 6, 2, 5),
            _InvertedResidual(40, 40, 6, 1, 5),
            _norm_conv(40, 128, 1, activation=nn.ReLU6),
        ),
        128,
        10,
    )


def efficientnet() -> nn.Module:
    """Swish, squeeze-and-excite behind a sigmoid (Tan and Le 2019)."""
    block = functools.partial(_InvertedResidual, activation=nn.SiLU, squeeze=nn.Sigmoid)
    return _classifier(
        nn.Sequential(
            _norm_conv(3, 16, 3, 2, activation=nn.SiLU),
            block(16, 24, 4, 2),
            block(24, 24, 4),
            block(24, 40, 4, 2, 5),
            _norm_conv(40, 128, 1, activation=nn.SiLU),
        ),
        128,
        10,
    )


class _Shuffle(nn.Module):
    """ShuffleNet v2's unit: half of the channels pass by, then all are shuffled (Ma et al. 2018)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        half = outside // 2
        self.stride = stride
        entering = inside if stride == 2 else half
        self.right = nn.Sequential(
            _norm_conv(entering, half, 1),
            _norm_conv(half, half, 3, stride, groups=half, activation=None),
            _norm_conv(half, half, 1),
        )
        self.left = nn.Identity()
        if stride == 2:
            self.left = nn.Sequential(
                _norm_conv(inside, inside, 3, 2, groups=inside, activation=None), _norm_conv(inside, half, 1)
            )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1) if self.stride == 1 else (x, x)
        joined = torch.cat([self.left(left), self.right(right)], dim=1)
        batch, channels, height, width = joined.shape
        return joined.reshape(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(joined.shape)


def shufflenet_v2() -> nn.Module:
    """Channel split and channel shuffle."""
    return _classifier(
        nn.Sequential(
            _norm_conv(3, 24, 3, 2),
            nn.MaxPool2d(3, 2, 1),
            _Shuffle(24, 48, 2),
            _Shuffle(48, 48, 1),
            _Shuffle(48, 96, 2),
            _Shuffle(96, 96, 1),
            _norm_conv(96, 128, 1),
        ),
        128,
        10,
    )


class _Ghost(nn.Module):
    """Half of the channels are cheap depthwise copies of the other half (Han et al. 2020)."""

    def __init__(self, inside: int, outside: int, activation: Activation | None = nn.ReLU) -> None:
        super().__init__()
        self.primary = _norm_conv(inside, outside // 2, 1, activation=activation)
        self.cheap = _norm_conv(outside // 2, outside // 2, 3, groups=outside // 2, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], dim=1)


class _GhostBottleneck(nn.Module):
    def __init__(self, inside: int, middle: int, outside: int, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Ghost(inside, middle)]
        if stride == 2:
            layers.append(_norm_conv(middle, middle, 3, 2, groups=middle, activation=None))
        layers += [_SqueezeExcite(middle), _Ghost(middle, outside, None)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(
            _norm_conv(inside, inside, 3, stride, groups=inside, activation=None),
            _norm_conv(inside, outside, 1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)


def ghostnet() -> nn.Module:
    """Ghost modules."""
    return _classifier(
        nn.Sequential(_norm_conv(3, 16, 3, 2), _GhostBottleneck(16, 48, 24, 2), _GhostBottleneck(24, 72, 40, 2)), 40, 10
    )


class _Residual(nn.Module):
    """A basic block (He et al. 2016), or with groups and a bottleneck RegNet's (Radosavovic et al. 2020)."""

    def __init__(self, inside: int, outside: int, stride: int = 1, group_width: int = 0) -> None:
        super().__init__()
        if group_width:
            self.layers = nn.Sequential(
                _norm_conv(inside, outside, 1),
                _norm_conv(outside, outside, 3, stride, groups=outside // group_width),
                _norm_conv(outside, outside, 1, activation=None),
            )
        else:
            self.layers = nn.Sequential(
                _norm_conv(inside, outside, 3, stride), _norm_conv(outside, outside, 3, activation=None)
            )
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else _norm_conv(inside, outside, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.shortcut(x))


def resnet() -> nn.Module:
    """ResNet for CIFAR, as in MLPerf Tiny."""
    return _classifier(
        nn.Sequential(_norm_conv(3, 16), _Residual(16, 16), _Residual(16, 32, 2), _Residual(32, 64, 2)), 64, 10
    )


def resnet_preactivation() -> nn.Module:
    """Norm and ReLU before each convolution."""

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(2)])
            self.convs = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)])

        def forward(self, x: Tensor) -> Tensor:
            y = x
            for norm, conv in zip(self.norms, self.convs, strict=True):
                y = conv(F.relu(norm(y)))
            return x + y

    features = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), Block(24), Block(24), nn.BatchNorm2d(24), nn.ReLU())
    return _classifier(features, 24, 10)


def regnet() -> nn.Module:
    """Grouped convolutions."""
    return _classifier(
        nn.Sequential(
            _norm_conv(3, 24, 3, 2), _Residual(24, 48, 2, 8), _Residual(48, 48, 1, 8), _Residual(48, 96, 2, 8)
        ),
        96,
        10,
    )


def squeezenet() -> nn.Module:
    """Fire modules: 1x1 and 3x3 convolutions side by side (Iandola et al. 2016)."""

    class Fire(nn.Module):
        def __init__(self, inside: int, squeezed: int, expanded: int) -> None:
            super().__init__()
            self.squeeze = nn.Conv2d(inside, squeezed, 1)
            self.narrow = nn.Conv2d(squeezed, expanded, 1)
            self.wide = nn.Conv2d(squeezed, expanded, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            squeezed = F.relu(self.squeeze(x))
            return torch.cat([F.relu(self.narrow(squeezed)), F.relu(self.wide(squeezed))], dim=1)

    pool = functools.partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    features = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, 2), nn.ReLU(), pool()),
        *(Fire(32, 8, 32), Fire(64, 8, 32), pool(), Fire(64, 16, 64), nn.Dropout(0.5)),
        *(nn.Conv2d(128, 10, 1), nn.ReLU()),
    )
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _LayerNormOfChannels(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand, self.project = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.project(F.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    """Large depthwise kernels, layer norm, GELU (Liu et al. 2022)."""
    features = nn.Sequential(
        *(nn.Conv2d(3, 24, 4, 4), _LayerNormOfChannels(24), _ConvNeXtBlock(24), _ConvNeXtBlock(24)),
        *(_LayerNormOfChannels(24), nn.Conv2d(24, 48, 2, 2), _ConvNeXtBlock(48)),
    )
    return _classifier(features, 48, 10)


class SSD(nn.Module):
    """Boxes and classes at three scales, flattened and joined (Liu et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_norm_conv(3, 16, 3, 2, activation=nn.ReLU6), _InvertedResidual(16, 32, 4, 2)),
                _InvertedResidual(32, 48, 4, 2),
                _InvertedResidual(48, 64, 4, 2),
            ]
        )
        widths, anchors, classes = (32, 48, 64), 3, 4
        self.boxes = nn.ModuleList([nn.Conv2d(width, 4 * anchors, 3, padding=1) for width in widths])
        self.classes = nn.ModuleList([nn.Conv2d(width, classes * anchors, 3, padding=1) for width in widths])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        boxes, classes = [], []
        for stage, box, kind in zip(self.stages, self.boxes, self.classes, strict=True):
            x = stage(x)
            boxes.append(box(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4))
            classes.append(kind(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4))
        return torch.cat(classes, dim=1).softmax(dim=-1), torch.cat(boxes, dim=1)


class FCOS(nn.Module):
    """A feature pyramid with nearest upsampling and one head for all scales (Tian et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm_conv(3, 16, 3, 2), _Residual(16, 32, 2))
        self.second, self.third = _Residual(32, 48, 2), _Residual(48, 64, 2)
        self.lateral = nn.ModuleList([nn.Conv2d(width, 32, 1) for width in (32, 48, 64)])
        self.tower = nn.Sequential(_norm_conv(32, 32), _norm_conv(32, 32))
        self.scores, self.distances = nn.Conv2d(32, 4, 3, padding=1), nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(x)
        second = self.second(first)
        third = self.third(second)
        levels = [self.lateral[2](third)]
        for features, lateral in ((second, self.lateral[1]), (first, self.lateral[0])):
            levels.append(lateral(features) + F.interpolate(levels[-1], scale_factor=2.0, mode="nearest"))
        towers = [self.tower(level) for level in levels]
        scores = torch.cat([self.scores(tower).flatten(2) for tower in towers], dim=2)
        distances = torch.cat([F.relu(self.distances(tower)).flatten(2) for tower in towers], dim=2)
        return scores.sigmoid(), distances


class TinyYOLO(nn.Module):
    """Leaky ReLU, max pooling with stride one, a route from an earlier layer (Redmon and Farhadi 2018)."""

    def __init__(self) -> None:
        super().__init__()
        leaky = functools.partial(nn.LeakyReLU, 0.1)
        conv = functools.partial(_norm_conv, activation=leaky)
        self.early = nn.Sequential(
            *(conv(3, 16), nn.MaxPool2d(2), conv(16, 32), nn.MaxPool2d(2), conv(32, 64), nn.MaxPool2d(2), conv(64, 96))
        )
        self.late = nn.Sequential(
            nn.MaxPool2d(2), conv(96, 128), nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1), conv(128, 64, 1)
        )
        self.coarse = nn.Sequential(conv(64, 96), nn.Conv2d(96, 27, 1))
        self.up = nn.Sequential(conv(64, 32, 1), nn.Upsample(scale_factor=2, mode="nearest"))
        self.fine = nn.Sequential(conv(128, 64), nn.Conv2d(64, 27, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = self.early(x)
        late = self.late(early)
        return self.coarse(late), self.fine(torch.cat([self.up(late), early], dim=1))


class _Blaze(nn.Module):
    """5x5 depthwise blocks whose shortcut is pooled and padded with zero channels (Bazarevsky et al. 2019)."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inside, inside, 5, stride, 2, groups=inside), nn.Conv2d(inside, outside, 1)
        )
        self.stride, self.missing = stride, outside - inside

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.max_pool2d(x, 2) if self.stride == 2 else x
        if self.missing:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.missing))
        return F.relu(self.layers(x) + shortcut)


class FaceDetector(nn.Module):
    """BlazeFace style: two scales, boxes with landmarks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 5, 2, 2), nn.ReLU())
        self.first = nn.Sequential(_Blaze(24, 24), _Blaze(24, 32, 2), _Blaze(32, 48, 2))
        self.second = nn.Sequential(_Blaze(48, 64, 2), _Blaze(64, 64))
        self.scores = nn.ModuleList([nn.Conv2d(48, 2, 1), nn.Conv2d(64, 6, 1)])
        self.boxes = nn.ModuleList([nn.Conv2d(48, 32, 1), nn.Conv2d(64, 96, 1)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(self.stem(x))
        levels = (first, self.second(first))
        return self._joined(self.scores, levels, 1), self._joined(self.boxes, levels, 16)

    def _joined(self, heads: nn.ModuleList, levels: Sequence[Tensor], width: int) -> Tensor:
        answers = [head(level).permute(0, 2, 3, 1) for head, level in zip(heads, levels, strict=True)]
        return torch.cat([answer.reshape(len(answer), -1, width) for answer in answers], dim=1)


class UNet(nn.Module):
    """Down and up again, with transposed convolutions and bilinear upsampling (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([_norm_conv(3, 16), _norm_conv(16, 32), _norm_conv(32, 48)])
        self.transposed = nn.ConvTranspose2d(48, 32, 2, 2)
        self.first, self.second = _norm_conv(64, 32), _norm_conv(48, 16)
        self.mask = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down[0](x)
        second = self.down[1](F.max_pool2d(first, 2))
        third = self.down[2](F.max_pool2d(second, 2))
        up = self.first(torch.cat([self.transposed(third), second], dim=1))
        up = F.interpolate(up, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.mask(self.second(torch.cat([up, first], dim=1)))


def super_resolution() -> nn.Module:
    """ESPCN: pixels come out of channels (Shi et al. 2016)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 4, 3, padding=1), nn.PixelShuffle(2)),
    )


class TCN(nn.Module):
    """Causal convolutions in one dimension with growing dilation (Bai et al. 2018)."""

    def __init__(self, channels: int = 32, layers: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv1d(40, channels, 1)
        self.convs = nn.ModuleList([nn.Conv1d(channels, channels, 3, dilation=2**i) for i in range(layers)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(channels) for _ in range(layers)])
        self.head = nn.Linear(channels, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.relu(norm(conv(F.pad(x, (2 * 2**i, 0)))) + x)
        return self.head(x.mean(dim=2))


def autoencoder() -> nn.Module:
    """MLPerf Tiny's anomaly detector: linear layers with norms."""
    sizes: Sequence[int] = (128, 64, 64, 8, 64, 64)
    layers: list[nn.Module] = []
    for inside, outside in zip((128, *sizes), sizes, strict=False):
        layers += [nn.Linear(inside, outside), nn.BatchNorm1d(outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 128))


def _images(size: int, channels: int = 3) -> Callable[[torch.Generator], dict[str, Tensor]]:
    draw = spectrograms(channels, size, size)
    return lambda generator: {"image": draw(generator)}


def _features(*shape: int) -> Callable[[torch.Generator], dict[str, Tensor]]:
    draw = spectrograms(*shape)
    return lambda generator: {"features": draw(generator)}


CONVOLUTIONAL = (
    Network("ds-cnn", ds_cnn, _features(1, 40, 49), small=True),
    Network("keyword-resnet8", keyword_resnet8, _features(1, 40, 48), small=True),
    Network("keyword-resnet15", keyword_resnet15, _features(1, 40, 49), small=True),
    Network("mobilenet-v1", mobilenet_v1, _images(64), small=True),
    Network("mobilenet-v2", mobilenet_v2, _images(64), small=True),
    Network("mobilenet-v3", mobilenet_v3, _images(64), small=True),
    Network("mobilenet-v4", mobilenet_v4, _images(64), small=True),
    Network("efficientnet-lite", efficientnet_lite, _images(64), small=True),
    Network("efficientnet", efficientnet, _images(64), small=True),
    Network("shufflenet-v2", shufflenet_v2, _images(64), small=True),
    Network("ghostnet", ghostnet, _images(64), small=True),
    Network("resnet", resnet, _images(32), small=True),
    Network("resnet-preactivation", resnet_preactivation, _images(32), small=True),
    Network("regnet", regnet, _images(64), small=True),
    Network("squeezenet", squeezenet, _images(64), small=True),
    Network("convnext", convnext, _images(64)),
    Network("ssd", SSD, _images(96), ("scores", "boxes"), small=True),
    Network("fcos", FCOS, _images(96), ("scores", "distances"), small=True),
    Network("tiny-yolo", TinyYOLO, _images(96), ("coarse", "fine"), small=True),
    Network("face-detector", FaceDetector, _images(96), ("scores", "boxes"), small=True),
    Network("unet", UNet, _images(64), ("mask",)),
    Network("super-resolution", super_resolution, _images(48, 1), ("picture",), small=True),
    Network("tcn", TCN, _features(40, 64), small=True),
    Network("autoencoder", autoencoder, lambda g: {"features": torch.randn(1, 128, generator=g)}, ("rebuilt",), True),
)
