"""What a plugin promises, as checks with names, for the test suites of those who write plugins.

``check_instrument``  and ``parametrize_instrument``, ``instrument_checks``: an instrument
``check_encoder``     and ``parametrize_encoder``, ``encoder_checks``: an encoder
``check_objective``   and ``parametrize_objective``, ``objective_checks``: an objective

The names below are imported when they are first used.
"""

import importlib

_PUBLIC = {
    "CheckTable": "specalign.testing.results",
    "Contract": "specalign.testing.contract",
    "check_encoder": "specalign.testing.encoders",
    "check_instrument": "specalign.testing.instruments",
    "check_objective": "specalign.testing.objectives",
    "encoder_checks": "specalign.testing.encoders",
    "instrument_checks": "specalign.testing.instruments",
    "objective_checks": "specalign.testing.objectives",
    "parametrize_encoder": "specalign.testing.encoders",
    "parametrize_instrument": "specalign.testing.instruments",
    "parametrize_objective": "specalign.testing.objectives",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'specalign.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_PUBLIC])
