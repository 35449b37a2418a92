"""The check of another process: what it says, and that it never waits for one that has ended."""

import subprocess
import sys

import numpy as np
import pytest

from specalign.exceptions import ContractError
from specalign.testing import children

SCRIPT = """
from specalign.testing import check_instrument
from specalign.tests.testing.spectrograph import Small
{extra}
check = "spawned_process_gives_the_same_arrays"
table = check_instrument({kind}(), checks=[check])
print(table["status"][0])
"""
LARGE = np.zeros(10**6)  # more than a pipe holds, so that a writer nobody reads would wait for ever


def test_a_process_that_ends_at_once_is_a_failure_not_a_wait():
    with pytest.raises(ContractError, match="a new process cannot do it: it ended without a message"):
        children.output_of_a_child("import os; os._exit(3)", LARGE.tobytes())


def test_what_cannot_be_sent_is_named():
    with pytest.raises(ContractError, match=r"cannot be sent to another process: .*lambda"):
        children.sent_to_a_child(len, lambda: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "extra", "expected"),
    [("Small", "", "passed"), ("Mine", "class Mine(Small):\n    pass", "defined in a script or a notebook")],
)
def test_a_script_without_a_guard(tmp_path, kind, extra, expected):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(kind=kind, extra=extra))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert expected in done.stdout + done.stderr
