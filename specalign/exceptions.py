"""Every error and warning that the package raises.

All errors derive from `SpecalignError`; each one also derives from the built-in
class that Python programmers would try to catch.
"""

__all__ = [
    "CheckpointError",
    "ContractError",
    "ContractWarning",
    "CorruptFileError",
    "EmptySpectrumError",
    "GridMismatchError",
    "LabelError",
    "MatchError",
    "MissingExtraError",
    "MissingFactError",
    "MockModelWarning",
    "NonFiniteLossError",
    "PluginError",
    "PluginWarning",
    "SkippedProductWarning",
    "SpecalignError",
    "SpecalignWarning",
    "SpectrumError",
    "SpectrumUnitError",
    "UnknownPluginError",
    "UnknownProductError",
    "UnreliableVelocityWarning",
    "VelocityWarning",
]


class SpecalignError(Exception):
    """Base class of the package's errors."""


class SpectrumError(SpecalignError, ValueError):
    """The content of a spectrum is not usable: its axis, shapes, identifiers or values."""


class EmptySpectrumError(SpectrumError):
    """A spectrum has too few good pixels, or nothing to divide by, so that no vector can stand for it."""


class SpectrumUnitError(SpectrumError):
    """A unit is missing, or cannot be converted to the one that was expected."""


class MissingFactError(SpectrumError):
    """A spectrum does not say in which frame or medium it is, how it was normalised, or whose it is."""


class UnknownProductError(SpecalignError, ValueError):
    """A file is readable, but is not a product that the instrument reads."""


class CorruptFileError(SpecalignError, OSError):
    """A file is truncated, damaged, or fails its checksum."""


class PluginError(SpecalignError, RuntimeError):
    """A plugin clashes with another one, fails to import, or breaks the contract."""


class ContractError(SpecalignError, AssertionError):
    """A plugin does not do what its contract promises; ``results`` is the table of all checks, where all ran."""

    results = None


class UnknownPluginError(PluginError, LookupError):
    """No plugin of that name is installed."""


class GridMismatchError(SpecalignError, ValueError):
    """Spectra, weights or embeddings come from different grids, mask rules or aligners."""


class MatchError(SpecalignError, ValueError):
    """Rows cannot be joined: duplicate identifiers, or nothing in common."""


class LabelError(SpecalignError, ValueError):
    """Labels are missing, have no unit, or belong to another system."""


class CheckpointError(SpecalignError, ValueError):
    """A saved aligner is incomplete, was changed, or is not one of ours."""


class NonFiniteLossError(SpecalignError, ArithmeticError):
    """The loss or a gradient became NaN or infinite; no parameter was changed by that step."""


class MissingExtraError(SpecalignError, ImportError):
    """An optional dependency is absent; the message names the extra that brings it."""


class SpecalignWarning(UserWarning):
    """Base class of the package's warnings."""


class VelocityWarning(SpecalignWarning):
    """Spectra stay in the frame of the file, because no velocity is known, or velocities disagree."""


class SkippedProductWarning(SpecalignWarning):
    """A file holds products beside those that were read; the message names them."""


class UnreliableVelocityWarning(VelocityWarning):
    """Measured velocities are not to be trusted; the message names the spectra and says why."""


class MockModelWarning(SpecalignWarning):
    """A model was made to try the software, for instance from mock spectra: what it predicts is not for science."""


class PluginWarning(SpecalignWarning):
    """A plugin could not be listed or loaded; the others work."""


class ContractWarning(PluginWarning):
    """A plugin does not do what its contract promises, as `ContractError` would say."""
