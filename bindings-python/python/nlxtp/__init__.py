"""Files and scripts into virtual machines and containers, and results out, without their network."""

from ._native import __version__

__all__ = ["__version__"]
