"""What the server of the page refuses, and that nothing that it is sent brings it down."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from mobiledistill.devices import _browser_server
from mobiledistill.devices._browser_server import Job, Server
from mobiledistill.devices._browser_wire import Work
from tests.devices.browser import Visitor

OUTPUTS = save({"y": np.arange(10, dtype=np.float32)})
RESULT: dict[str, Any] = {
    "files": [
        {
            "samples_ns": [100.0, 110.5],
            "runs_per_sample": 3,
            "load_cold_ms": 1.5,
            "load_warm_ms": 1.25,
            "first_run_ms": 0.5,
            "signature": "main",
            "backend": "wasm, 1 thread",
        }
    ],
    "reference": {
        "samples_ns": [90.0, 91.0],
        "runs_per_sample": 2,
        "load_cold_ms": 1.0,
        "load_warm_ms": 1.0,
        "first_run_ms": 0.25,
    },
    "page": {
        "user_agent": "Mozilla/5.0",
        "platform": "Linux",
        "logical_cores": 8,
        "cross_origin_isolated": True,
        "clock_step_ms": 0.005,
        "memory_gb": 8,
        "heap_bytes": 1 << 24,
        "hidden_runs": 0,
        "battery_percent": [80, None],
    },
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with a runtime of one file, and a file beside it that nobody may have."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "runtime.js").write_text("export {};")
    made = Server("127.0.0.1", 0, {"runtime/onnx/runtime.js": tmp_path / "runtime.js"})
    yield made
    made.close()


@pytest.fixture
def visitor(server: Server) -> Visitor:
    return Visitor(server.address)


@pytest.fixture
def job(server: Server, visitor: Visitor) -> Iterator[Job]:
    """A job that the visitor was given, which somebody waits for."""
    work = Work(
        job=7,
        format="onnx",
        signatures=("main",),
        backend="wasm",
        threads=1,
        samples=2,
        block=20,
        largest_clock_share=0.01,
    )
    made = Job(work, {"models/0": b"a model"}, (1000,))
    waiting = threading.Thread(target=server.run, args=(made,))
    waiting.start()
    assert visitor.work()["job"] == 7
    yield made
    if not made.ended:
        visitor.say(7, {"error": {"kind": "failure", "message": "the test is over"}})
    waiting.join(timeout=30)
    assert not waiting.is_alive()


def test_the_page_is_isolated_from_other_origins(visitor: Visitor) -> None:
    status, body, headers = visitor.ask("")
    assert status == 200
    assert b"mobiledistill" in body
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "script-src 'self' 'wasm-unsafe-eval'" in headers["Content-Security-Policy"]
    assert visitor.ask("runtime/onnx/runtime.js")[1] == b"export {};"
    assert visitor.ask("page.js")[2]["Content-Type"].startswith("text/javascript")


def test_every_server_has_a_token_of_its_own(server: Server, visitor: Visitor) -> None:
    other = Server("127.0.0.1", 0, {})
    try:
        assert len(visitor.root) >= 22  # 16 random bytes in base64
        assert other.address.rpartition(":")[2].partition("/")[2] != visitor.root[1:]
        assert visitor.ask("", path=Visitor(other.address).root)[0] == 403
    finally:
        other.close()


@pytest.mark.parametrize("name", ["", "page.js", "work", "models/0", "runtime/onnx/runtime.js"])
@pytest.mark.parametrize("token", ["", "/", "/wrong/", "/wrong/../", "/%00/", "/é/", "//"])
def test_without_the_token_there_is_nothing(visitor: Visitor, token: str, name: str) -> None:
    path = (token + name).encode().decode("latin-1")
    with socket.create_connection((visitor.host, visitor.port), timeout=10) as line:
        line.sendall(f"GET {path or '/'} HTTP/1.1\r\nHost: {visitor.host}:{visitor.port}\r\n\r\n".encode("latin-1"))
        assert line.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": None},
    ],
)
def test_other_origins_and_other_names_are_refused(visitor: Visitor, job: Job, headers: dict[str, str | None]) -> None:
    assert visitor.ask("", headers=headers)[0] == 403
    body = json.dumps({"phase": "run"}).encode()
    assert visitor.ask("messages", body, headers={"X-Job": "7", **headers})[0] == 403
    assert job.messages == []


def test_a_cable_may_call_it_localhost(visitor: Visitor) -> None:
    host = f"localhost:{visitor.port}"
    assert visitor.ask("", headers={"Host": host, "Origin": f"http://{host}"})[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt",
        "..%2fsecret.txt",
        "runtime/onnx/../../secret.txt",
        "runtime/onnx/../../../secret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "runtime/onnx/runtime.js/",
        "runtime/onnx",
        "models/1",
        "models/-1",
        "page.js?x",
        "outputs/0",
    ],
)
def test_only_what_is_listed_is_there(visitor: Visitor, job: Job, name: str) -> None:
    status, body, _ = visitor.ask(name)
    assert (status, body) == (404, b"")
    assert visitor.ask("models/0")[1] == b"a model"


def test_a_large_body_is_refused_before_it_is_read(visitor: Visitor, job: Job) -> None:
    for name, length in (("messages", 9 << 20), ("outputs/0", 1001), ("gone", 65), ("outputs/0", 10**30)):
        with socket.create_connection((visitor.host, visitor.port), timeout=10) as line:
            told = f"POST {visitor.root}{name} HTTP/1.1\r\nHost: {visitor.host}:{visitor.port}\r\n"
            line.sendall(f"{told}X-Page: {visitor.page}\r\nX-Job: 7\r\nContent-Length: {length}\r\n\r\n".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 413"), name  # though not a byte of it has come
    assert job.outputs == {}


@pytest.mark.parametrize("length", [None, "", "-1", "1e3", "0x10", "²"])
def test_a_body_has_to_tell_its_length(visitor: Visitor, job: Job, length: str | None) -> None:
    with socket.create_connection((visitor.host, visitor.port), timeout=10) as line:
        lines = [f"POST {visitor.root}messages HTTP/1.1", f"Host: {visitor.host}:{visitor.port}", "X-Job: 7"]
        lines += [] if length is None else [f"Content-Length: {length}"]
        line.sendall("\r\n".join([*lines, "", ""]).encode())
        assert line.recv(100).startswith(b"HTTP/1.1 411")


def test_what_belongs_to_no_run_is_gone(visitor: Visitor, job: Job) -> None:
    assert visitor.say(6, {"phase": "run"}) == 410
    assert visitor.say(7, {"phase": "run"}) == 204
    assert visitor.ask("outputs/1", OUTPUTS, headers={"X-Job": "7"})[0] == 410
    assert visitor.ask("nothing", b"x", headers={"X-Job": "7"})[0] == 404
    for header in ({"X-Job": "seven"}, {"X-Job": ""}, {"X-Page": ""}, {"X-Page": "a b"}, {"X-Page": "1" * 65}):
        assert visitor.ask("messages", b'{"phase": "run"}', headers={"X-Job": "7", **header})[0] == 400
    assert len(job.messages) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"phase": "walk"}',
        b'{"phase": "run", "more": 1}',
        b'{"error": {"kind": "input", "message": ""}}',
        b'{"error": {"kind": "failure", "message": "' + b"x" * 301 + b'"}}',
        b"[" * 100_000,
        json.dumps({"result": {**RESULT, "files": []}}).encode(),
        json.dumps({"result": {**RESULT, "reference": {**RESULT["reference"], "samples_ns": [-1.0]}}}).encode(),
        json.dumps({"result": {**RESULT, "page": {**RESULT["page"], "clock_step_ms": float("nan")}}}).encode(),
    ],
)
def test_malformed_messages_are_refused(visitor: Visitor, job: Job, body: bytes) -> None:
    assert visitor.ask("messages", body, headers={"X-Job": "7"})[0] == 400
    assert job.messages == []


def test_whole_answers_arrive(visitor: Visitor, job: Job) -> None:
    assert visitor.ask("outputs/0", OUTPUTS, headers={"X-Job": "7"})[0] == 204
    assert visitor.say(7, {"result": RESULT}) == 204
    assert job.ended
    np.testing.assert_array_equal(job.outputs[0]["y"], np.arange(10, dtype=np.float32))


def test_a_thousand_mutations_are_answered(server: Server, visitor: Visitor, job: Job) -> None:
    draw = random.Random(0)
    bodies = {"messages": json.dumps({"result": RESULT}).encode(), "outputs/0": OUTPUTS}
    refused = 0
    for number in range(1200):
        name = ("messages", "outputs/0")[number % 2]
        status = server.take(name, visitor.page, "6", mutated(bodies[name], draw))  # a job that nobody waits for
        assert status in (400, 410)
        refused += status == 400
    assert refused > 600  # many mutations are no JSON or no header any more
    for number in range(100):  # and some of them by the wire
        name = ("messages", "outputs/0")[number % 2]
        assert visitor.ask(name, mutated(bodies[name], draw), headers={"X-Job": "6"})[0] in (400, 410, 413)
    assert job.messages == []
    assert visitor.say(7, {"phase": "run"}) == 204


def test_lines_that_are_no_http_are_survived(visitor: Visitor) -> None:
    draw = random.Random(1)
    whole = f"POST {visitor.root}messages HTTP/1.1\r\nHost: {visitor.host}\r\nContent-Length: 3\r\n\r\nabc".encode()
    for _ in range(60):
        with socket.create_connection((visitor.host, visitor.port), timeout=10) as line:
            line.sendall(mutated(whole, draw))
            line.shutdown(socket.SHUT_WR)
            while line.recv(4096):
                pass
    assert visitor.ask("")[0] == 200


def test_a_page_that_left_without_a_word_is_forgotten(
    server: Server, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_browser_server, "_POLL_S", 0.01)
    monkeypatch.setattr(_browser_server, "_PAGE_FORGOTTEN_S", 1e9)
    other = Visitor(server.address, page="5-6-7-8")
    assert visitor.ask("work")[0] == 204
    assert other.ask("work")[0] == 409
    monkeypatch.setattr(_browser_server, "_PAGE_FORGOTTEN_S", 0.0)
    assert other.ask("work")[0] == 204


def test_the_port_that_is_taken_is_left_alone(server: Server, visitor: Visitor) -> None:
    other = Server("127.0.0.1", visitor.port, {})
    try:
        assert Visitor(other.address).port != visitor.port
    finally:
        other.close()


def mutated(body: bytes, draw: random.Random) -> bytes:
    """The same with bytes changed, cut out, doubled or put in."""
    changed = bytearray(body)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) + 1)
        kind = draw.randrange(4)
        if kind == 0 and changed:
            changed[at % len(changed)] = draw.randrange(256)
        elif kind == 1:
            del changed[at : at + draw.randint(1, 30)]
        elif kind == 2:
            changed[at:at] = changed[at : at + draw.randint(1, 30)]
        else:
            changed[at:at] = draw.randbytes(draw.randint(1, 8))
    return bytes(changed)
