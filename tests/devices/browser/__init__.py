"""Browsers for tests: a real headless Chromium, and a page that does what it is told."""

from tests.devices.browser._chromium import Chromium, Tab
from tests.devices.browser._visitor import Visitor

__all__ = ["Chromium", "Tab", "Visitor"]
