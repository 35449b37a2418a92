"""The check of another process: what it says, and that it never waits for one that has ended."""

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

from specalign.exceptions import ContractError
from specalign.testing.instrument_kit import processes
from specalign.tests.testing.spectrograph import Small

SCRIPT = """
from specalign.testing import check_instrument
from specalign.tests.testing.spectrograph import Small
{extra}
check = "spawned_process_gives_the_same_arrays"
table = check_instrument({kind}(), checks=[check])
print(table["status"][0])
"""
LARGE = np.zeros(10**6)  # more than a pipe holds, so that a writer nobody reads would wait for ever


def test_a_process_that_has_ended_is_a_failure_not_a_wait():
    here, there = multiprocessing.Pipe()
    there.close()
    with pytest.raises(ContractError, match=r"ended at once.*put it into a module"):
        processes._answer(here, LARGE)


def test_a_process_that_ends_without_an_answer_is_named():
    here, there = multiprocessing.Pipe()
    there.send_bytes(b"")
    there.close()
    with pytest.raises(ContractError, match="ended"):
        processes._answer(here, None)


def test_what_cannot_be_pickled_is_named():
    here, _there = multiprocessing.Pipe()
    with pytest.raises(ContractError, match=r"cannot be sent to another process: .*lambda"):
        processes._answer(here, lambda: None)


def test_the_script_that_runs_is_hidden_and_put_back():
    main = sys.modules["__main__"]
    with processes._main_left_alone(Small()):
        assert not hasattr(sys.modules["__main__"], "__file__")
    assert sys.modules["__main__"] is main


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "extra", "expected"),
    [("Small", "", "passed"), ("Mine", "class Mine(Small):\n    pass", "check it under __name__ == '__main__'")],
)
def test_a_script_without_a_guard(tmp_path, kind, extra, expected):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(kind=kind, extra=extra))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert expected in done.stdout + done.stderr
