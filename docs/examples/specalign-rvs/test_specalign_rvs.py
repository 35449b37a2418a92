"""The contract of the plugin."""

from specalign.testing import parametrize_instrument


@parametrize_instrument("gaia_rvs")
def test_contract(check):
    check()
