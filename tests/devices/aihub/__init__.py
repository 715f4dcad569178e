"""Qualcomm AI Hub on this computer: the real client in its own environment, and a server that speaks its messages."""

from tests.devices.aihub._service import CLIENTS, Service, environment, running

__all__ = ["CLIENTS", "Service", "environment", "running"]
