"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    # Triton looks at it once, when it is first imported, which Lightning does too
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("fuzzing", max_examples=2000, deadline=None)
settings.load_profile("ci")


def find_shared():
    """The folder of real data beside the checkout, or None."""
    folder = Path(__file__).resolve().parents[3] / "shared"
    return folder if (folder / "data" / "spectra").is_dir() else None


@pytest.fixture(scope="session")
def shared():
    """Path of the real spectra, emulators and mock survey that lie beside the checkout."""
    folder = find_shared()
    if folder is None:
        pytest.skip("needs the folder 'shared' with real spectra beside the checkout")
    return folder
