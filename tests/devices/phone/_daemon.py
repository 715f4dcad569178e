"""The device's side of adb's protocol, for the real ``adb`` of this computer to talk to.

https://android.googlesource.com/platform/packages/modules/adb/+/refs/heads/main/protocol.txt and SYNC.TXT beside it.
A phone is a folder: /data/local/tmp, /sdcard and /sys of what the shell is asked lie in it, and the programs that
only Android has are small scripts. aarch64 programs run in qemu where one is given. Its times mean nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import stat
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_MAX_DATA = 256 * 1024
_VERSION = 0x01000001
_HEADER = struct.Struct("<6I")
_FEATURES = "shell_v2,cmd,stat_v2,ls_v2"
_ROOTS = ("/data/local/tmp", "/data/app", "/sdcard", "/sys/")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_PROGRAMS = Path(__file__).parent / "bin"
_AARCH64 = 183


@dataclass
class Faults:
    """What goes wrong; nothing by default, and each at most as often as it says.

    Attributes:
        unauthorized: the phone asks whether to allow this computer, and nobody answers.
        pulled_after_bytes: the cable is pulled when so many bytes of files have come in.
        full_after_bytes: the disk takes so many bytes of files, then no more.
        hanging: shell commands that this pattern is found in never end.
        exits: pattern of a command, and the exit status it ends with in place of running.
        garbled: pattern of a command whose output is torn: its middle is missing.
    """

    unauthorized: bool = False
    pulled_after_bytes: int | None = None
    full_after_bytes: int | None = None
    hanging: str | None = None
    exits: dict[str, int] = field(default_factory=dict)
    garbled: str | None = None


class Phone:
    """A phone that listens on this computer; ``adb connect`` it by its ``address``.

    Args:
        folder: what it stores, and what its sensors say: ``state/`` holds a file for each thing that a test may set.
        qemu: command line that aarch64 programs run in; None: they do not run.
    """

    def __init__(self, folder: Path, *, qemu: list[str] | None = None) -> None:
        self.folder, self.faults = folder, Faults()
        self.commands: list[str] = []
        self.pushed_bytes = 0
        self._qemu = qemu
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.address = ""
        for root in _ROOTS:
            (folder / root.strip("/")).mkdir(parents=True, exist_ok=True)
        shutil.copytree(_PROGRAMS, folder / "bin", dirs_exist_ok=True)
        shutil.copytree(Path(__file__).parent / "state", folder / "state", dirs_exist_ok=True)
        cores = sorted(os.sched_getaffinity(0))  # a program can only be pinned to those there are
        for cpu in cores:
            khz = 2900000 if cpu == cores[-1] else 1800000
            frequency = folder / "sys" / "devices" / "system" / "cpu" / f"cpu{cpu}" / "cpufreq"
            frequency.mkdir(parents=True, exist_ok=True)
            (frequency / "cpuinfo_max_freq").write_text(f"{khz}\n")
            (frequency / "scaling_cur_freq").write_text(f"{khz}\n")
            (frequency / "scaling_governor").write_text("schedutil\n")

    def __enter__(self) -> Self:
        self._thread.start()
        self.plug_in()
        return self

    def __exit__(self, *_: object) -> None:
        self.pull_out()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def plug_in(self) -> None:
        """Listens, on the port it had before."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def pull_out(self) -> None:
        """Breaks every connection, and takes no new one."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()

    def set(self, name: str, value: object) -> None:
        """What the phone's programs say from now on."""
        (self.folder / "state" / name).write_text(f"{value}\n")

    def get(self, name: str) -> str:
        """What was set, here or by a command."""
        return (self.folder / "state" / name).read_text().strip()

    async def _listen(self) -> None:
        port = int(self.address.rpartition(":")[2] or 0)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await _Connection(self, reader, writer).serve()
        self._writers.discard(writer)
        writer.close()

    # -- its shell ----------------------------------------------------------------------------------------------------

    def path(self, remote: str) -> Path:
        """Where a path of the phone lies here."""
        for root in _ROOTS:
            if remote.startswith(root):
                return self.folder / remote.lstrip("/")
        return Path(remote)

    def command(self, text: str) -> tuple[list[str], dict[str, str]]:
        """What runs here in place of a shell command, and its environment."""
        here = re.sub("|".join(re.escape(root) for root in _ROOTS), lambda found: f"{self.folder}{found[0]}", text)
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "STATE": str(self.folder / "state"),
            "PHONE": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }
        return ["/bin/sh", "-c", here], environment

    def installed(self, path: Path) -> None:
        """Puts a wrapper in front of a foreign program that came in."""
        if self._qemu is None or not _is_aarch64_program(path):
            return
        real = path.with_name(f".{path.name}.aarch64")
        path.rename(real)
        path.write_text(f"#!/bin/sh\nexec {shlex.join([*self._qemu, str(real)])} " + '"$@"\n')
        path.chmod(0o755)


def _is_aarch64_program(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096)
    is_aarch64 = head[:4] == b"\x7fELF" and struct.unpack_from("<H", head, 18)[0] == _AARCH64
    return is_aarch64 and b"/lib/ld-linux-aarch64" in head  # a library names no loader


class _Connection:
    """One computer's connection; streams run beside each other on it."""

    def __init__(self, phone: Phone, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.phone, self._reader, self._writer = phone, reader, writer
        self._streams: dict[int, _Stream] = {}
        self._next = 1

    async def serve(self) -> None:
        while True:
            kind, first, second, length, _, _ = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
            data = await self._reader.readexactly(length)
            name = struct.pack("<I", kind)
            if name == b"CNXN":
                await self._greet()
            elif name == b"OPEN":
                stream = _Stream(self, self._next, first)
                self._streams[self._next] = stream
                self._next += 1
                task = asyncio.ensure_future(stream.serve(data.rstrip(b"\0").decode()))
                stream.task = task
            elif (stream := self._streams.get(second)) is not None:
                await stream.take(name, data)

    async def send(self, name: bytes, first: int, second: int, data: bytes = b"") -> None:
        kind = struct.unpack("<I", name)[0]
        self._writer.write(_HEADER.pack(kind, first, second, len(data), sum(data) & 0xFFFFFFFF, kind ^ 0xFFFFFFFF))
        self._writer.write(data)
        await self._writer.drain()

    async def _greet(self) -> None:
        if self.phone.faults.unauthorized:
            await self.send(b"AUTH", 1, 0, os.urandom(20))
            return
        described = "".join(f"ro.product.{name}=Fixture;" for name in ("name", "model", "device"))
        await self.send(b"CNXN", _VERSION, _MAX_DATA, f"device::{described}features={_FEATURES}".encode())

    def closed(self, stream: _Stream) -> None:
        self._streams.pop(stream.own, None)

    def abort(self) -> None:
        self._writer.transport.abort()


class _Stream:
    """One service that was opened: a shell or a transfer of files."""

    def __init__(self, connection: _Connection, own: int, theirs: int) -> None:
        self.own, self._theirs, self._connection, self._phone = own, theirs, connection, connection.phone
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._ready = asyncio.Event()
        self._rest = b""
        self.task: asyncio.Future[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def serve(self, service: str) -> None:
        await self._connection.send(b"OKAY", self.own, self._theirs)
        self._ready.set()
        with suppress(ConnectionError, _Closed):
            if service.startswith("shell,"):
                await self._shell(service.partition(":")[2], framed="v2" in service)
            elif service.startswith(("shell:", "exec:")):
                await self._shell(service.partition(":")[2], framed=False)
            elif service.startswith("sync:"):
                await self._sync()
        with suppress(ConnectionError):
            await self._connection.send(b"CLSE", self.own, self._theirs)
        self._connection.closed(self)

    async def take(self, name: bytes, data: bytes) -> None:
        if name == b"WRTE":
            self._incoming.put_nowait(data)
            await self._connection.send(b"OKAY", self.own, self._theirs)
        elif name == b"OKAY":
            self._ready.set()
        elif name == b"CLSE":
            if self._process is not None and self._process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._incoming.put_nowait(b"")
            await self._connection.send(b"CLSE", self.own, self._theirs)
            self._connection.closed(self)
            self._ready.set()

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), _MAX_DATA):
            await self._ready.wait()
            self._ready.clear()
            await self._connection.send(b"WRTE", self.own, self._theirs, data[start : start + _MAX_DATA])

    async def _read(self, count: int) -> bytes:
        while len(self._rest) < count:
            data = await self._incoming.get()
            if not data:
                raise _Closed
            self._rest += data
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    # -- a shell --------------------------------------------------------------------------------------------------

    async def _shell(self, text: str, *, framed: bool) -> None:
        faults = self._phone.faults
        self._phone.commands.append(text)
        if faults.hanging and re.search(faults.hanging, text):
            await asyncio.sleep(3600)
        words, environment = self._phone.command(text)
        for pattern, code in faults.exits.items():
            if re.search(pattern, text):
                words = ["/bin/sh", "-c", f"exit {code}"]
        self._process = process = await asyncio.create_subprocess_exec(
            *words,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if framed else asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        feed = asyncio.ensure_future(self._feed(process, framed=framed))
        torn = faults.garbled is not None and re.search(faults.garbled, text) is not None
        outputs = [self._forward(process.stdout, _STDOUT if framed else None, torn=torn)]
        if framed:
            outputs.append(self._forward(process.stderr, _STDERR))
        await asyncio.gather(*outputs)
        code = await process.wait()
        feed.cancel()
        if framed:
            await self._write(struct.pack("<BIB", _EXIT, 1, code if code >= 0 else 128 - code))

    async def _feed(self, process: asyncio.subprocess.Process, *, framed: bool) -> None:
        assert process.stdin is not None
        with suppress(_Closed, ConnectionError):
            while True:
                if not framed:
                    process.stdin.write(await self._incoming.get())
                    continue
                kind, length = struct.unpack("<BI", await self._read(5))
                data = await self._read(length)
                if kind == _CLOSE_STDIN:
                    process.stdin.close()
                elif kind == _STDIN:
                    process.stdin.write(data)

    async def _forward(self, source: Any, kind: int | None, *, torn: bool = False) -> None:
        while data := await source.read(_MAX_DATA // 2):
            if torn:
                data = data[: len(data) // 3] + b"\xff\x00" + data[2 * len(data) // 3 :]
            await self._write(data if kind is None else struct.pack("<BI", kind, len(data)) + data)

    # -- files ----------------------------------------------------------------------------------------------------

    async def _sync(self) -> None:
        while True:
            request, length = struct.unpack("<4sI", await self._read(8))
            if request == b"QUIT":
                return
            remote = (await self._read(length)).decode()
            if request == b"SEND":
                await self._receive(remote)
            elif request == b"RECV":
                await self._send_file(self._phone.path(remote))
            elif request == b"STAT":
                mode, size, changed, *_ = _described(self._phone.path(remote))
                await self._write(struct.pack("<4s3I", b"STAT", mode, size & 0xFFFFFFFF, changed))
            elif request in (b"STA2", b"LST2"):
                await self._write(request + _described_v2(self._phone.path(remote)))
            elif request == b"LIST":
                async for entry in _entries(self._phone.path(remote)):
                    await self._write(entry)
                await self._write(struct.pack("<4s4I", b"DONE", 0, 0, 0, 0))

    async def _receive(self, described: str) -> None:
        remote, _, mode = described.rpartition(",")
        path, faults, why = self._phone.path(remote), self._phone.faults, None
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while True:
                kind, size = struct.unpack("<4sI", await self._read(8))
                if kind == b"DONE":
                    break
                data = await self._read(size)
                self._phone.pushed_bytes += size
                if faults.pulled_after_bytes is not None and self._phone.pushed_bytes > faults.pulled_after_bytes:
                    faults.pulled_after_bytes = None
                    self._connection.abort()
                    raise _Closed
                if faults.full_after_bytes is not None and self._phone.pushed_bytes > faults.full_after_bytes:
                    why = f"couldn't write to '{remote}': No space left on device"
                if why is None:
                    file.write(data)
        if why is not None:
            await self._write(struct.pack("<4sI", b"FAIL", len(why)) + why.encode())
            return
        path.chmod(stat.S_IMODE(int(mode)) | 0o600)
        self._phone.installed(path)
        await self._write(struct.pack("<4sI", b"OKAY", 0))

    async def _send_file(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            why = f"open failed: {os.strerror(error.errno or 0)}"
            await self._write(struct.pack("<4sI", b"FAIL", len(why)) + why.encode())
            return
        for start in range(0, len(content), 64 * 1024):
            part = content[start : start + 64 * 1024]
            await self._write(struct.pack("<4sI", b"DATA", len(part)) + part)
        await self._write(struct.pack("<4sI", b"DONE", 0))


class _Closed(Exception):
    """The computer closed the stream."""


def _described(path: Path) -> tuple[int, int, int, os.stat_result | None]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0, None
    return found.st_mode, found.st_size, int(found.st_mtime), found


def _described_v2(path: Path) -> bytes:
    _, _, _, found = _described(path)
    if found is None:
        return struct.pack("<IQQ4IQ3q", 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    return struct.pack("<IQQ4IQ3q", 0, 1, 1, found.st_mode, 1, 0, 0, found.st_size, *times)


async def _entries(path: Path) -> AsyncIterator[bytes]:
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        mode, size, changed, _ = _described(entry)
        name = entry.name.encode()
        yield struct.pack("<4s4I", b"DENT", mode, size & 0xFFFFFFFF, changed, len(name)) + name
