"""Qualcomm AI Hub as its client sees it: answers on a port of this computer, in the client's own protobuf messages.

Run by the interpreter that has qai-hub. The folder given holds ``state.json``, which a test writes, and what came in:
``requests.txt``, ``model``, ``inputs.npz``, ``job-1`` and so on.
"""

from __future__ import annotations

import io
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import h5py
import numpy as np
from qai_hub import public_api_pb2 as pb
from qai_hub.util.dataset_entries_converters import dataset_entries_to_h5, h5_to_dataset_entries

FOLDER = Path(sys.argv[1])
PHONES = {
    "Samsung Galaxy S23": ("13", "chipset:qualcomm-snapdragon-8gen2"),
    "Samsung Galaxy S24": ("14", "chipset:qualcomm-snapdragon-8gen3"),
    "Google Pixel 8": ("14", "chipset:google-tensor-g3"),
}
UNITS = {"NPU": pb.COMPUTE_UNIT_NPU, "GPU": pb.COMPUTE_UNIT_GPU, "CPU": pb.COMPUTE_UNIT_CPU}
IS_NEW = hasattr(pb, "FileUploadResponse")


def state() -> dict:
    return json.loads((FOLDER / "state.json").read_text())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PUT(self) -> None:
        self.answer("PUT")

    def do_PATCH(self) -> None:
        self.answer("PATCH")

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, method: str) -> None:
        url = urlsplit(self.path)
        body = self.body()
        with (FOLDER / "requests.txt").open("a") as log:
            log.write(f"{method} {url.path}\n")
        refusal = state().get("refuse", {}).get(f"{method} {url.path}")
        if refusal is not None:
            self.reply(refusal[1].encode(), code=refusal[0])
        elif url.path == "/stored/model":
            (FOLDER / "model").write_bytes(body)
            self.reply(b"")
        elif url.path == "/stored/inputs":
            boundary = re.search(r"boundary=(\S+)", self.headers["Content-Type"])[1].encode()
            part = next(part for part in body.split(b"--" + boundary) if b'name="file"' in part)
            save_inputs(part.partition(b"\r\n\r\n")[2][:-2])
            self.reply(b"")
        elif url.path == "/stored/outputs":
            self.reply(outputs())
        else:
            message = self.message(method, url.path.removeprefix("/api/v1/").strip("/"), parse_qs(url.query), body)
            found = b"no such thing" if message is None else message.SerializeToString()
            self.reply(found, code=404 if message is None else 200)

    def message(self, method: str, path: str, query: dict, body: bytes):
        here = f"http://127.0.0.1:{self.server.server_address[1]}/stored"
        if path == "devices":
            named = query.get("name", [""])[0]
            return pb.DeviceList(devices=[phone(name) for name in PHONES if named in ("", name)])
        if path == "models/m1":
            return pb.Model(model_id="m1", name="model", file_upload_complete=True, model_type=pb.MODEL_TYPE_TFLITE)
        if path == "models/m1/multipart_upload" and method == "GET":
            urls = pb.FileMultipartUploadURL(urls=[f"{here}/model"], upload_id="u1", max_part_size=1 << 30)
            return pb.FileUploadResponse(multipart_url=urls) if IS_NEW else urls
        if path == "datasets/d1/upload_url":
            form = pb.FileUploadURL(url=f"{here}/inputs", file_field_name="file", fields={"key": "d1"})
            return pb.FileUploadResponse(url=form) if IS_NEW else form
        if path == "datasets/d2/download_data":
            there = pb.FileDownloadURL(url=f"{here}/outputs", filename="outputs.h5")
            return pb.FileDownloadResponse(url=there) if IS_NEW else there
        if path in ("datasets/d1", "datasets/d2") and method == "GET":
            return pb.Dataset(dataset_id=path[-2:], name="data", file_upload_complete=True)
        if path == "jobs" and method == "POST":
            count = len(list(FOLDER.glob("job-*"))) + 1
            (FOLDER / f"job-{count}").write_bytes(body)
            return pb.CreateUpdateResponse(id=f"j{count}")
        if found := re.fullmatch(r"jobs/j(\d+)(/result)?", path):
            return result(int(found[1])) if found[2] else job(int(found[1]))
        made = {"models": "m1", "models/m1": "m1", "models/m1/multipart_upload": "m1"}
        made |= {"datasets": "d1", "datasets/d1": "d1"}
        return pb.CreateUpdateResponse(id=made[path]) if path in made else None

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def reply(self, content: bytes, *, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"e1"')
        self.end_headers()
        self.wfile.write(content)


def phone(name: str):
    os, chipset = PHONES[name]
    attributes = ["framework:tflite", "framework:onnx", "os:android", chipset]
    return pb.Device(name=name, os=os, attributes=attributes)


def posted(number: int):
    message = pb.Job()
    message.ParseFromString((FOLDER / f"job-{number}").read_bytes())
    return message


def job(number: int):
    message = posted(number)
    inner = getattr(message, message.WhichOneof("job"))
    inner.job_state = getattr(pb, f"JOB_STATE_{state()['job']}")
    inner.failure_reason = state().get("failure", "")
    message.hub_version = "aihub-2026.11"
    setattr(inner, f"{message.WhichOneof('job')}_id", f"j{number}")
    return message


def result(number: int):
    kind = posted(number).WhichOneof("job")
    found = pb.JobResult()
    if kind == "inference_job":
        found.inference_job_result.inference_job_id = f"j{number}"
        if "outputs" in state():
            found.inference_job_result.output_dataset_id = "d2"
        if IS_NEW:
            found.inference_job_result.detail.CopyFrom(profile())
    else:
        found.profile_job_result.profile_job_id = f"j{number}"
        found.profile_job_result.profile.CopyFrom(profile())
    return found


def profile():
    detail = pb.ProfileDetail(**state()["profile"])
    for index, unit in enumerate(state()["layers"]):
        detail.layer_details.add(name=f"layer{index}", layer_type_name="CONV_2D", compute_unit=UNITS[unit])
    return detail


def save_inputs(content: bytes) -> None:
    with h5py.File(io.BytesIO(content)) as file:
        arrays = {name: values[0] for name, values in h5_to_dataset_entries(file).items()}
    np.savez(FOLDER / "inputs.npz", **arrays)


def outputs() -> bytes:
    content = io.BytesIO()
    with np.load(state()["outputs"]) as archive, h5py.File(content, "w") as file:
        dataset_entries_to_h5({name: [archive[name]] for name in archive.files}, file)
    return content.getvalue()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
