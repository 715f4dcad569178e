"""Deep Compression (Han, Mao, Dally 2016) made again, and what distillation, a context-mixing coder and freer cuts add.

python -m benchmarks.deep_compression [--quick] [--json FILE] [--seeds 0 1 2] [--workdir DIR] [--data DIR] [ROW ...]

LeNet-300-100 and Caffe's LeNet-5 on MNIST: pruned, shared in palettes, coded by ``pack``. Every student learns from the
uncompressed network of its seed. Errors among the 10,000 official test images are counted through the written file,
after its archive was unpacked and compared. Choices were made on the validation, a tenth of the training images. What
is done is kept in the work folder, so the program can be stopped and started; beside the JSON a page is written.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import mobiledistill as md
from benchmarks._figures import keep_figures, known_figures, tell
from benchmarks._lenets import Digits, NarrowLeNet5
from benchmarks._mnist import Images, load_mnist
from benchmarks.data_free import LeNet5
from benchmarks.hinton import Layers
from benchmarks.tasks import predict_of_file, predict_of_module
from mobiledistill.distill import SoftTargets
from mobiledistill.prune import Sparsity, hold_zeros, sparsify, without_masks, zero_shares
from mobiledistill.quantize import LayerScheme, Palette, WeightOnly, freeze, prepare

_TAUGHT = SoftTargets(temperature=4.0, hard=0.1, soft=0.9)
_WITHIN, _PERCENT = 5, 100  # test errors of 10,000


def _learn(epochs: int, rate: float) -> md.Recipe:
    return md.Recipe(epochs=epochs, learning_rate=rate, weight_decay=1e-4, precision="bf16")


@dataclass(frozen=True)
class Way:
    """How a network becomes small.

    Attributes:
        about: what the page says of it.
        make: what learns, where it is not the uncompressed network itself.
        sparsity: what is pruned; None: nothing.
        pruned: the training meanwhile.
        scheme: what is stored.
        stored: the training with that.
        suffix: of the file.
    """

    about: str
    make: Callable[[], nn.Module] | None
    sparsity: Sparsity | None
    pruned: md.Recipe
    scheme: LayerScheme
    stored: md.Recipe
    suffix: str = ".onnx"


@dataclass(frozen=True)
class Network:
    """One of the paper's networks.

    Attributes:
        make: it, untrained.
        reference: how it learns.
        paper: bytes of the packed one, and its error in percent, before and after.
        most_bytes: what ours is to stay within.
        ways: by name.
    """

    make: Callable[[], nn.Module]
    reference: md.Recipe
    paper: tuple[int, float, float]
    most_bytes: int
    ways: Mapping[str, Way] = field(default_factory=dict)


NETWORKS = {
    "LeNet-300-100": Network(
        make=lambda: Layers(300, 100),
        reference=md.Recipe(epochs=20, learning_rate=2e-3, precision="bf16"),
        paper=(27_000, 1.64, 1.58),
        most_bytes=20_000,
        ways={
            "same": Way(
                "the same layers: pruned, shared, coded",
                None,
                Sparsity(0.92, end=0.5),
                _learn(80, 2e-3),
                Palette(4, values=9),
                _learn(6, 3e-4),
            ),
            "free": Way(
                "160 and 80 units, pruned, shared, coded",
                lambda: Layers(160, 80),
                Sparsity(0.87, begin=0.2, end=0.6),
                _learn(80, 2e-3),
                Palette(4, values=9),
                _learn(6, 3e-4),
            ),
        },
    ),
    "LeNet-5": Network(
        make=LeNet5,
        reference=md.Recipe(epochs=8, learning_rate=2e-3, precision="bf16"),
        paper=(44_000, 0.80, 0.74),
        most_bytes=20_000,
        ways={
            "same": Way(
                "the same layers: pruned, shared, coded",
                None,
                Sparsity(0.965, end=0.5),
                _learn(30, 2e-3),
                Palette(4, values=9),
                _learn(4, 3e-4),
            ),
            "free": Way(
                "12 and 28 channels, 80 units, pruned, shared, coded",
                lambda: NarrowLeNet5(12, 28, 80),
                Sparsity(0.8, begin=0.2, end=0.6),
                _learn(40, 3e-3),
                Palette(4, values=9),
                _learn(5, 3e-4),
            ),
            "ternary": Way(
                "every weight -1, 0 or 1, a scale a channel",
                None,
                None,
                _learn(0, 1e-3),
                WeightOnly(2),
                _learn(6, 1e-3),
                suffix=".tflite",
            ),
        },
    ),
}


class Bench:
    """One network of one seed."""

    def __init__(
        self, splits: Mapping[md.Split, Images], network: Network, seed: int, workdir: Path, quick: bool
    ) -> None:
        self.task = Digits(splits, seed=seed)
        self.network = network
        self.seed = seed
        self.workdir = workdir
        self.quick = quick

    def reference(self) -> nn.Module:
        """The uncompressed network, trained or loaded."""
        torch.manual_seed(self.seed)
        return self._trained(self.network.make(), self.network.reference)

    def student(self, way: Way) -> nn.Module:
        """What a way makes of it, as it is exported."""
        reference = self.reference()
        teacher = md.teachers.Cached(md.teachers.TorchTeacher(reference), self.workdir)
        torch.manual_seed(self.seed)
        student = reference if way.make is None else way.make()
        if way.sparsity is not None:
            student = self._trained(sparsify(student, way.sparsity), way.pruned, teacher)
            student = without_masks(student)
        prepared = hold_zeros(prepare({"main": student}, way.scheme))
        learned = self._trained(prepared.get_submodule("main"), way.stored, teacher)
        frozen = freeze(nn.ModuleDict({"main": learned}))["main"]
        _round(frozen)
        return frozen

    def errors(self, net: nn.Module, split: md.Split) -> int:
        """Of a module."""
        return int(self.task.wrong(predict_of_module(self.task, net), split).sum())

    def write(self, net: nn.Module, name: str, suffix: str) -> tuple[Path, int]:
        """A file, and the bytes of its archive, whose unpacking was compared."""
        example = {"pixels": torch.from_numpy(self.task.calibration_inputs()["pixels"][:1])}
        path = md.convert(md.Program(net.eval(), example, ("logits",)), self.workdir / f"{name}{suffix}")
        archive = md.pack(path)
        size = archive.stat().st_size
        if path.is_file():
            back = md.unpack(archive, self.workdir / f"{name}-back{suffix}")
            if back.read_bytes() != path.read_bytes():
                raise RuntimeError(f"{path} came back changed")
            back.replace(path)  # what is scored came out of the archive
        return path, size

    def _trained(self, net: nn.Module, recipe: md.Recipe, teacher: md.teachers.Teacher | None = None) -> nn.Module:
        return md.train_model(
            net,
            self.task,
            replace(recipe, epochs=min(recipe.epochs, 2)) if self.quick else recipe,
            workdir=self.workdir,
            seed=self.seed,
            progress=tell,
            teacher=teacher,
            distill=None if teacher is None else _TAUGHT,
        )


@torch.no_grad()
def _round(net: nn.Module) -> None:
    """Biases and tables to eight significant bits: next to nothing is lost, and half of their bytes are zeros."""
    for name, value in net.named_parameters():
        if name.endswith(("bias", "table")):
            value.copy_(value.bfloat16())


def measured(bench: Bench, name: str, row: str) -> dict[str, Any]:
    """What becomes of one network of one seed."""
    if row == "reference":
        net = bench.reference()
        path, packed = bench.write(net, f"{name}-{bench.seed}-{row}", ".onnx")
        zeros: dict[str, float] = {}
    else:
        way = bench.network.ways[row]
        net = bench.student(way)
        path, packed = bench.write(net, f"{name}-{bench.seed}-{row}", way.suffix)
        zeros = {layer: round(share, 4) for layer, share in zero_shares(net).items()}
        weights = {layer: cast(Tensor, net.get_submodule(layer).weight).numel() for layer in zeros}
        zeros["all"] = round(sum(zeros[layer] * count for layer, count in weights.items()) / sum(weights.values()), 4)
    return {
        "packed_bytes": packed,
        "file_bytes": path.stat().st_size,
        "errors": int(bench.task.wrong(predict_of_file(path), "test").sum()),
        "validation_errors": bench.errors(net, "validation"),
        "zeros": zeros,
    }


def main() -> None:
    """Makes the rows that are still missing."""
    titles = [f"{name}/{row}" for name, one in NETWORKS.items() for row in ("reference", *one.ways)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of {', '.join(titles)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="1,000 images, two epochs, one seed")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/deep_compression.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs/deep-compression"))
    parser.add_argument("--data", type=Path, help="a folder that holds mnist")
    options = parser.parse_args()
    if unknown := [row for row in options.rows if row not in titles]:
        parser.error(f"no such row: {', '.join(unknown)}; choose some of {', '.join(titles)}")
    splits = load_mnist(options.data)
    if options.quick:
        splits = {split: (pixels[:1000], labels[:1000]) for split, (pixels, labels) in splits.items()}
        options.seeds = options.seeds[:1]
    options.workdir.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for title in options.rows or titles:
            if str(seed) in known_figures(options.json).get(title, {}):
                continue
            began = time.process_time()
            name, _, row = title.partition("/")
            bench = Bench(splits, NETWORKS[name], seed, options.workdir, options.quick)
            found = measured(bench, name, row)
            found["cpu_minutes"] = round((time.process_time() - began) / 60, 1)
            known = known_figures(options.json)
            known[title] = {**known.get(title, {}), str(seed): found}
            keep_figures(options.json, known, page)
            print(title, seed, found, flush=True)


# -- the page ------------------------------------------------------------------------------------------------------


def page(found: Mapping[str, Any]) -> str:
    """Markdown: ours beside the paper's."""
    lines = [
        "# Deep Compression, made again",
        "",
        "Made by `python -m benchmarks.deep_compression` from `deep_compression.json`. MNIST; 54,000 images train,",
        "6,000 are the validation on which densities and palettes were chosen, errors are those among the 10,000",
        "official test images, through the file that came out of the archive (ONNX by onnxruntime, TFLite by LiteRT).",
        "Each student learns from the uncompressed network of its own seed, on the same images, unmoved. *Packed* is",
        "`md.pack` of that file, all of it; *file* is what the runtime loads. 1 kB is 1000 bytes.",
        "",
        "| | packed kB | file kB | errors | more than uncompressed | packed bytes, errors of each seed | not zero |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, network in NETWORKS.items():
        before = found.get(f"{name}/reference", {})
        paper_bytes, paper_before, paper_after = network.paper
        lines.append(
            f"| {name}, the paper | {paper_bytes / 1000:g} | | {100 * paper_after:.0f} |"
            f" {100 * (paper_after - paper_before):+.0f} | | |"
        )
        for row, about in (("reference", "uncompressed"), *((row, way.about) for row, way in network.ways.items())):
            seeds = found.get(f"{name}/{row}", {})
            if seeds:
                lines.append(_line(f"{name}, {about}", seeds, before))
    return "\n".join([*lines, "", *_verdicts(found), ""])


def _line(title: str, seeds: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    more = [one["errors"] - before[seed]["errors"] for seed, one in seeds.items() if seed in before]
    each = "; ".join(f"{one['packed_bytes']:,}, {one['errors']}" for one in seeds.values())
    kept = [1 - one["zeros"]["all"] for one in seeds.values() if one["zeros"]]
    return (
        f"| {title} | {_mean(seeds, 'packed_bytes') / 1000:.1f} | {_mean(seeds, 'file_bytes') / 1000:.1f} |"
        f" {_mean(seeds, 'errors'):.1f} | {f'{statistics.mean(more):+.1f}' if more else ''} | {each} |"
        f" {f'{100 * statistics.mean(kept):.1f} %' if kept else ''} |"
    )


def _mean(seeds: Mapping[str, Any], key: str) -> float:
    return float(statistics.mean(one[key] for one in seeds.values()))


def _verdicts(found: Mapping[str, Any]) -> list[str]:
    """One line for each figure that was promised."""
    lines = []
    for name, network in NETWORKS.items():
        before = found.get(f"{name}/reference", {})
        for row in network.ways:
            seeds = {seed: one for seed, one in found.get(f"{name}/{row}", {}).items() if seed in before}
            if not seeds:
                continue
            more = _mean(seeds, "errors") - statistics.mean(before[seed]["errors"] for seed in seeds)
            size = _mean(seeds, "packed_bytes")
            if row == "ternary":
                share = _mean(seeds, "file_bytes") / _mean({s: before[s] for s in seeds}, "file_bytes")
                kept = more <= _PERCENT and share <= 1 / 14
                told = f"{more / 100:+.2f} % errors, a file of 1/{1 / share:.1f} of the uncompressed one"
                wanted = "within 1 % absolute, about 1/16"
            else:
                kept = more <= _WITHIN and size <= network.most_bytes
                told = (
                    f"{size:,.0f} bytes packed, {_mean(before, 'file_bytes') / size:.0f} times less, {more:+.1f} errors"
                )
                wanted = f"at most {network.most_bytes:,} bytes, {_WITHIN} errors more"
            lines.append(f"- {name}, {row}: {told} ({wanted}): {'kept' if kept else 'missed'}.")
    return lines


if __name__ == "__main__":
    main()
