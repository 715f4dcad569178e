"""Trying an exported file: the answer to one input of a person's own, and how long it took."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters import Format, InputError, load
from mobiledistill._demo import Answer, DemoTask
from mobiledistill._files import ASSETS

__all__ = ["last_files", "try_out"]


def try_out(
    name: str,
    task: DemoTask,
    option: str,
    given: str,
    workdir: Path,
    formats: tuple[Format, ...],
    as_json: bool,
) -> None:
    """Answers ``given`` with the file of the last run of a demo's task and prints the answer.

    Raises:
        InputError: the task cannot be tried in this way, nothing was run yet, or the input is not understood.
    """
    if task.try_out is None or task.try_out.option != option:
        raise InputError(f"Task {name!r} does not read --{option}; choose another one with --task.")
    format, path = next(iter(last_files(name, workdir, formats).items()))
    model = load(path)
    seconds = 0.0

    def predict(inputs: Mapping[str, NDArray[Any]], signature: str = "main") -> dict[str, NDArray[np.generic]]:
        nonlocal seconds
        start = time.perf_counter()
        answers = model.run(inputs, signature)
        seconds += time.perf_counter() - start
        return answers

    answer = task.try_out.answer(predict, path.parent / ASSETS, given)
    picture = _write_picture(answer, workdir / f"answer-{name}.png")
    factor = None if not answer.seconds_of_input else seconds / answer.seconds_of_input
    if as_json:
        facts = {"text": answer.text, "format": format, "path": str(path), "latency_ms": 1000 * seconds}
        facts |= {"real_time_factor": factor, "picture": None if picture is None else str(picture)}
        print(json.dumps(facts))
        return
    print(answer.text)
    if picture is not None:
        print(f"Picture: {picture}")
    runtime = "the reference executor, whose speed says nothing of a phone's" if format == "coreml" else "this computer"
    speed = "" if factor is None else f", {factor:.3f} of the input's own time"
    print(f"{1000 * seconds:.1f} ms in the {format} file on {runtime}{speed}: {path}")


def last_files(name: str, workdir: Path, formats: tuple[Format, ...]) -> dict[Format, Path]:
    """The files of the newest finished run that wrote one of ``formats``, in their order.

    Raises:
        InputError: there is none.
    """
    results = sorted(workdir.glob(f"{name}-*/result.json"), key=lambda path: path.stat().st_mtime)
    for result in reversed(results):
        artifacts = json.loads(result.read_text())["artifacts"]
        places = {
            format: result.parent / "artifacts" / Path(artifacts[format]["path"]).name
            for format in formats
            if format in artifacts
        }
        if there := {format: path for format, path in places.items() if path.exists()}:
            return there
    raise InputError(
        f"{workdir} holds no finished run of task {name!r} with a file in {', '.join(formats)};"
        " run the demo once without an input to try, or name its --workdir."
    )


def _write_picture(answer: Answer, path: Path) -> Path | None:
    if answer.picture is None:
        return None
    path.write_bytes(answer.picture)
    return path
