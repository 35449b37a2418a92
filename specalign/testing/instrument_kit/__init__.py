"""The checks of an instrument, one function each, in the order in which they run."""

from specalign.testing.instrument_kit import (
    axes,
    identity,
    masks,
    metadata,
    noise,
    processes,
    reading,
    rows,
    velocities,
)

__all__ = ["CHECKS"]

_MODULES = (metadata, reading, masks, axes, identity, noise, velocities, rows, processes)
CHECKS = tuple(check for module in _MODULES for check in module.CHECKS)
