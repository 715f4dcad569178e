"""What ``import mobiledistill`` costs beside ``import torch``: medians of fresh processes, interleaved.

python benchmarks/import_time.py [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

HEAVY = ("tensorflow", "coremltools", "litert_torch", "jax")
PROGRAM = """
import sys, time
start = time.perf_counter()
import {name}
print(time.perf_counter() - start, *[m for m in {heavy} if m in sys.modules])
"""


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 processes each instead of 10")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    options = parser.parse_args()
    order = ["torch", "mobiledistill"] * (3 if options.quick else 10)
    random.Random(options.seed).shuffle(order)
    seconds: dict[str, list[float]] = {"torch": [], "mobiledistill": []}
    loaded: set[str] = set()
    for name in ["torch", "mobiledistill", *order]:  # the first two only warm the disk cache
        program = PROGRAM.format(name=name, heavy=HEAVY)
        words = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
        seconds[name].append(float(words[0]))
        loaded |= set(words[1:])
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    result = {
        "median_s": medians,
        "ratio": medians["mobiledistill"] / medians["torch"],
        "heavy_modules": sorted(loaded),
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
