"""How a person brings a browser to the page: the address, its QR code, and where this computer is in its network."""

from __future__ import annotations

import importlib.util
import socket
import sys
from urllib.parse import urlsplit

from converters import DeviceError

__all__ = ["MEASURING", "invite", "lan_address"]

MEASURING = "Open this address in the browser that is to measure, and keep its page in front:"

_ELSEWHERE = ("192.0.2.1", 9)  # kept for documents: nobody has it, and nothing is sent


def lan_address() -> str:
    """The address that other devices in the network reach this computer by.

    Raises:
        DeviceError: it is in no network.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_ELSEWHERE)
            found = str(probe.getsockname()[0])
    except OSError:
        found = "127.0.0.1"
    if found.startswith("127."):
        raise DeviceError("This computer is in no network that others could reach it by; use browser and adb reverse.")
    return found


def invite(address: str, *, lan: bool, what_for: str = MEASURING) -> None:
    """Tells the terminal, on the error stream, where to go."""
    port = urlsplit(address).port
    told = [
        what_for,
        f"  {address}",
        "Warning: whoever learns the address can fetch the model while this runs; it is sent without encryption."
        if lan
        else f"For a phone on a cable first run adb reverse tcp:{port} tcp:{port}; the address is the same there.",
    ]
    print(*told, sep="\n", file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        return
    if importlib.util.find_spec("segno") is None:
        print("With pip install 'mobiledistill[browser]' it is shown as a QR code too.", file=sys.stderr, flush=True)
        return
    import segno

    segno.make(address, micro=False).terminal(sys.stderr, compact=True)
    sys.stderr.flush()
