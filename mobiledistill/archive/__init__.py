"""Archives of model files: what a phone downloads, byte for byte the same once unpacked."""

from mobiledistill.archive._archive import pack, unpack

__all__ = ["pack", "unpack"]
