"""The programs of the checkout's folder ``benchmarks``, which import each other by their bare names."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="session")
def program():
    """A function that imports a program of the benchmarks by name."""
    if not (BENCHMARKS / "bench_accuracy.py").is_file():
        pytest.skip("needs the checkout's folder 'benchmarks'")
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
