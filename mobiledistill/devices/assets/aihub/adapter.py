"""One question to Qualcomm AI Hub, asked in the environment that qai-hub is installed in.

qai-hub pins the protobuf that it was made with, so it lives apart from mobiledistill, whose only link to it is this
file: one JSON object on standard input, lines of JSON on standard output, of which the last is
``{"result": ...}`` or ``{"error": {"kind": ..., "message": ...}}``. Lines before tell how far it came.

Two generations of the client are spoken to: from 0.56 on one job profiles and answers; before there is one for each.
"""

from __future__ import annotations

import difflib
import inspect
import json
import os
import sys
import time
from typing import Any

_REAL_STDOUT = sys.stdout
sys.stdout = sys.stderr  # the client prints progress, which must not mix with what is said here


class Trouble(Exception):
    """What is told to the user; ``kind`` says whose turn it is."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main() -> None:
    """Answers the request on standard input."""
    request = json.load(sys.stdin)
    try:
        say(result=answer(request))
    except Trouble as trouble:
        say(error={"kind": trouble.kind, "message": plain(str(trouble))})


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The result, or Trouble."""
    try:
        import qai_hub as hub
    except ImportError as error:
        raise Trouble("missing", str(error)) from None
    errors = hub.client
    try:
        if request["mode"] == "devices":
            return {"version": str(hub.__version__), "devices": [described(one) for one in hub.get_devices()]}
        return measured(hub, request)
    except FileNotFoundError as error:
        raise Trouble("token", str(error)) from None
    except errors.RateLimitedError as error:
        raise Trouble("limit", str(error)) from None
    except errors.UserError as error:
        is_token = "authenticate" in str(error) or "configuration" in str(error)
        raise Trouble("token" if is_token else "refused", str(error)) from None
    except Trouble:
        raise
    except Exception as error:  # whatever else the client or what it stands on raises: one line, never a traceback
        raise Trouble("service", f"{type(error).__name__}: {error}") from None


def measured(hub: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Sends the model, waits for its job, fetches times and answers."""
    import numpy as np

    until = time.monotonic() + request["wait_s"]
    device = device_named(hub, request["device"])  # asked first: nothing leaves where there is no such phone
    with np.load(request["inputs"]["path"], allow_pickle=False) as archive:
        arrays = [archive[f"arr_{index}"] for index in range(len(request["inputs"]["names"]))]
    inputs = {name: [array] for name, array in zip(request["inputs"]["names"], arrays, strict=True)}

    say(phase="upload")
    model = hub.upload_model(request["model"], name=request["name"])
    sent = {"model": model, "device": device, "name": request["name"], "retry": False}
    options, profiling = request["options"], request["profiling_options"]
    if "profile" in inspect.signature(hub.submit_inference_job).parameters:
        profiled = answering = hub.submit_inference_job(
            **sent, inputs=inputs, options=f"{options} {profiling}".strip(), profile=True
        )
    else:
        profiled = hub.submit_profile_job(**sent, options=f"{options} {profiling}".strip())
        answering = hub.submit_inference_job(**sent, inputs=inputs, options=options)
    say(phase="job", url=profiled.url)

    for job in dict.fromkeys((profiled, answering)):
        wait(job, until, request["poll_s"])
    profiled = hub.get_job(profiled.job_id)  # as the service has it now: what ran it is known only afterwards
    answered = answering.download_output_data() or {}
    np.savez(request["outputs"], *(np.asarray(values[0]) for values in answered.values()))
    return {
        "version": str(hub.__version__),
        "job_url": profiled.url,
        "hub_version": str(getattr(profiled, "hub_version", None) or "") or None,
        "device": described(profiled.device),
        "profile": profiled.download_profile(),
        "outputs": list(answered),
    }


def device_named(hub: Any, name: str) -> Any:
    """The device of that name; where the name is unknown, Trouble with those that are near."""
    known = hub.get_devices()
    found = [one for one in known if one.name == name]
    if found:
        return found[-1]
    names = sorted({one.name for one in known})
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    near += [lower for lower in by_lower if name.lower() in lower and lower not in near][:3]
    told = f"near it are {', '.join(by_lower[one] for one in near)}" if near else f"it knows {len(names)} others"
    raise Trouble("device", told)


def wait(job: Any, until: float, poll_s: float) -> None:
    """Until the job is done; Trouble where it fails or takes too long."""
    while True:
        status = job.get_status()
        if status.success:
            return
        if status.failure:
            raise Trouble("failed", f"{status.message or 'it gave no reason'} ({job.url})")
        if time.monotonic() >= until:
            raise Trouble("timeout", f"{status.code} ({job.url})")
        time.sleep(poll_s)


def described(device: Any) -> dict[str, Any]:
    """A device as JSON."""
    return {"name": device.name, "os": str(device.os), "attributes": list(device.attributes)}


def plain(text: str) -> str:
    """In one line, without the boxes that the client draws around advice."""
    return " ".join(text.translate(dict.fromkeys(map(ord, "┌─┐└┘|│"), " ")).split())


def say(**message: object) -> None:
    """One line of JSON."""
    print(json.dumps(message), file=_REAL_STDOUT, flush=True)


if __name__ == "__main__":
    main()
    _REAL_STDOUT.flush()
    os._exit(0)  # threads of the client's uploads may not keep a process that has answered
