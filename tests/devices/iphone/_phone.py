"""A phone with our app on it, as far as files and JSON show it; the stand-ins for tools that reach phones share it.

The folder in IPHONE holds ``state.json``, which a test writes, ``calls.txt``, ``Documents``, the app's own, and
``config.json``, the last that the app has taken from there.
"""

import json
import os
import shutil
from pathlib import Path

FOLDER = Path(os.environ["IPHONE"])
STATE = json.loads((FOLDER / "state.json").read_text())
GOLDEN = json.loads((Path(__file__).parent / "golden" / "result.json").read_text())
UNITS = {"all": 1.0, "cpuAndNeuralEngine": 1.1, "cpuAndGPU": 2.0, "cpuOnly": 4.0}


def failure_of(verb: str, words: list[str]) -> str | None:
    """Why a test wants this to fail; what was asked is written down."""
    with (FOLDER / "calls.txt").open("a") as log:
        log.write(json.dumps([verb, *words]) + "\n")
    return STATE["fail"].get(verb)


def take(source: Path, to: Path) -> None:
    """A file, or a folder with all in it."""
    shutil.copytree(source, to, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, to)


def run_app() -> None:
    """Reads the configuration and takes it away, measures, answers."""
    taken = FOLDER / "config.json"
    (FOLDER / "Documents" / "config.json").replace(taken)
    config = json.loads(taken.read_text())
    units = [measured(unit, config["samples"]) for unit in config["compute_units"]]
    result = {**GOLDEN, "run": config["run"], "units": units, **STATE["result"]}
    (FOLDER / "Documents" / "result.json").write_text(json.dumps(result))


def measured(unit: str, samples: int) -> dict:
    """Around the unit's pace."""
    samples_ms = [UNITS[unit] + 0.01 * (index % 3) for index in range(samples)]
    own = {"unit": unit, "samples_ms": samples_ms, "outputs": STATE["outputs"]}
    return {**GOLDEN["units"][0], **own, **STATE["unit"]}
