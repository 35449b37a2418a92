"""The page of the checks names every check, and says of each what the kit says."""

import re
from pathlib import Path

import pytest

from specalign.testing.encoders import ENCODER
from specalign.testing.instruments import INSTRUMENT_CONTRACT
from specalign.testing.objectives import OBJECTIVE

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how_to" / "check_a_plugin.rst"


def listed(text, title):
    """What the page says of each check of one section, by name."""
    if title not in text:
        pytest.fail(f"{PAGE.name} has no section {title!r}")
    section = re.split(r"\n-{3,}\n", text.split(f"{title}\n", 1)[1].lstrip("-\n"))[0]
    items = re.findall(r"^\* ``(\w+)``: (.+(?:\n  .+)*)", section, flags=re.M)
    return {name: " ".join(summary.split()) for name, summary in items}


CONTRACTS = {"an instrument": INSTRUMENT_CONTRACT, "an encoder": ENCODER, "an objective": OBJECTIVE}


@pytest.mark.parametrize("kind", CONTRACTS)
def test_the_page_lists_the_checks_of_a_kind_in_their_order(kind):
    if not PAGE.exists():
        pytest.skip("the documentation is not beside the package")
    found = listed(PAGE.read_text(encoding="utf-8"), f"The checks of {kind}")
    assert list(found.items()) == list(CONTRACTS[kind].summaries.items())
