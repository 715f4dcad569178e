"""What the cost model says of files that were really written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import mobiledistill as md
from converters import Format, size_bytes, suffix_of
from mobiledistill.prune import LayerShape, layer_shapes
from mobiledistill.search import Amounts, CostModel, Target, amounts

IMAGE = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def net(width: int) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * width, 3 * width, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3 * width, 10),
    ).eval()


def written(module: nn.Module, fmt: Format, precision: str, folder: Path) -> int:
    program = md.Program(module, {"image": IMAGE[:1]}, ("y",))
    if precision == "int8":
        (program,) = md.quantize.post_training(program, {"image": IMAGE})
    return size_bytes(md.convert(program, folder / f"net{suffix_of(fmt)}"))


def amounts_of(module: nn.Module) -> Amounts:
    return amounts(layer_shapes(module, lambda one: (one(IMAGE[:1]),), ()))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("fmt", ["tflite", "onnx", "coreml"])
def test_bytes_of_a_narrower_network_are_known_from_the_wider_ones_file(
    fmt: Format, precision: str, tmp_path: Path
) -> None:
    wide, narrow = net(40), net(24)
    cost = CostModel({"fp32": 4.0, "int8": 1.0}[precision])
    cost.correct((fmt, "size_bytes"), amounts_of(wide), written(wide, fmt, precision, tmp_path))

    predicted = cost.predict((fmt, "size_bytes"), amounts_of(narrow))

    assert predicted == pytest.approx(written(narrow, fmt, precision, tmp_path), rel=0.01)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_small_weights_lie_within_a_core_ml_models_text(precision: str, tmp_path: Path) -> None:
    wide, narrow = net(40), net(6)  # of the narrow one some weights have less than 1024 bytes, of the wide one none
    cost = CostModel({"fp32": 4.0, "int8": 1.0}[precision])
    target: Target = ("coreml", "size_bytes")
    cost.correct(target, amounts_of(wide), written(wide, "coreml", precision, tmp_path))

    predicted = cost.predict(target, amounts_of(narrow))

    assert predicted == pytest.approx(written(narrow, "coreml", precision, tmp_path), rel=0.01)


def test_what_layers_of_one_width_share_is_counted_once(tmp_path: Path) -> None:
    """Zero points in a .tflite of integers: this net's other widths differ, its first and second are made alike."""

    def like(first: int, second: int) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, first, 3), nn.ReLU(), nn.Conv2d(first, second, 1), nn.ReLU(), nn.Conv2d(second, 7, 1)
        ).eval()

    cost = CostModel(1.0)
    target: Target = ("tflite", "size_bytes")
    different, alike = like(40, 56), like(48, 48)
    cost.correct(target, amounts_of(different), written(different, "tflite", "int8", tmp_path))
    size = written(alike, "tflite", "int8", tmp_path)
    assert cost.predict(target, amounts_of(alike)) == pytest.approx(size, abs=16)  # 48 zero points are 384 bytes


def test_a_tflite_buffer_begins_where_16_divides_and_others_do_not() -> None:
    def predicted(fmt: Format, weights: int, channels: int) -> float:
        layer = LayerShape(
            name="a", weights=weights, macs=weights, channels=channels, channels_in=1, writes=None, reads=None
        )
        return CostModel(1.0).predict((fmt, "size_bytes"), amounts([layer]))

    assert predicted("tflite", 33, 8) == predicted("tflite", 48, 8)  # 15 bytes lie unused behind 33
    assert predicted("tflite", 49, 8) == predicted("tflite", 48, 8) + 16
    assert predicted("onnx", 49, 8) == predicted("onnx", 48, 8) + 1


def test_formats_differ_in_what_a_channel_costs() -> None:
    channel = Amounts(channels=1000.0)
    floats, integers = CostModel(4.0), CostModel(1.0)

    def predicted(cost: CostModel, fmt: Format) -> float:
        return cost.predict((fmt, "size_bytes"), channel)

    assert predicted(floats, "tflite") == pytest.approx(4000)  # a float bias
    assert predicted(integers, "tflite") > predicted(integers, "onnx") > 2 * predicted(floats, "onnx")


def test_a_layer_is_charged_as_it_is_stored() -> None:
    layer = LayerShape(name="a", weights=100, macs=1000, channels=10, channels_in=1, writes="a", reads=None)
    half = amounts([layer], {"a": 0.5})
    assert (half.weights, half.channels, half.macs, half.layers) == (50, 5, 500, 1)


def test_kernels_compute_whole_tiles() -> None:
    layer = LayerShape("a", 24 * 24, 24 * 24 * 100, channels=24, channels_in=24, writes="a", reads="b")

    def tiled(writes: int, reads: int) -> float:
        return amounts([layer], {"a": writes / 24, "b": reads / 24}).tiled_macs

    assert tiled(24, 24) == layer.macs
    assert tiled(9, 24) == pytest.approx(tiled(16, 24))
    assert tiled(24, 1) == pytest.approx(tiled(24, 8))
    assert tiled(8, 8) == pytest.approx(layer.macs / 9)
    depthwise = replace(layer, channels_in=1, reads=None)
    assert amounts([depthwise], {"a": 9 / 24}).tiled_macs == pytest.approx(depthwise.macs * 16 / 24)


def test_the_ranks_of_products_fill_tiles_too() -> None:
    layer = replace(LayerShape("a", 64 * 64, 64 * 64, 64, 64, None, None), rank="r", reduced=64, expanded=64)
    assert amounts([layer], {"r": 5}).tiled_macs == amounts([layer], {"r": 8}).tiled_macs == 2 * 64 * 8


def test_a_latency_is_not_bytes() -> None:
    cost = CostModel(1.0)
    small, large = Amounts(tiled_macs=1e6, layers=5), Amounts(tiled_macs=4e6, layers=5)
    assert cost.predict(("tflite", "latency_ms"), large) == 0.0  # nothing is known yet, so nothing binds
    cost.correct(("tflite", "latency_ms"), large, 4.0)
    assert 0 < cost.predict(("tflite", "latency_ms"), small) < 4.0
