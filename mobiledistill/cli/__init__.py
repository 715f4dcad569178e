"""The command line: ``mobiledistill demo|compress|convert|verify|profile|report``."""

from mobiledistill.cli._app import main

__all__ = ["main"]
