"""One run at a time on a phone, however many programs of this computer want it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from converters import DeviceError

__all__ = ["phone_lock"]

_WAIT_FOR_OTHERS_S = 600.0


@contextmanager
def phone_lock(phone: str) -> Iterator[None]:
    """While it lasts the phone is this run's alone; others wait for it.

    Raises:
        DeviceError: another run did not let go of it in time.
    """
    name = hashlib.sha256(phone.encode()).hexdigest()
    lock = FileLock(Path(tempfile.gettempdir()) / f"mobiledistill-{name}.lock")
    try:
        lock.acquire(timeout=_WAIT_FOR_OTHERS_S)
    except Timeout:
        raise DeviceError(
            f"{phone} has been in use by another run for {_WAIT_FOR_OTHERS_S / 60:.0f} minutes; wait for it."
        ) from None
    try:
        yield
    finally:
        lock.release()
