"""Spectra to arrays on the grid of an instrument; one plugin a file."""

from specalign.exceptions import PluginError
from specalign.plugins import load_plugin

__all__ = ["get_instrument"]

_checked = set()


def get_instrument(name, **options):
    """The instrument of that name.

    Parameters
    ----------
    name : str
        ``"apogee"``, ``"nirspec"``, ``"lamost"``, ``"gaia_xp"``, or one that another distribution offers.
    **options
        Of the plugin; every one has a default.

    Returns
    -------
    `specalign.instruments.base.Instrument`

    Raises
    ------
    UnknownPluginError
        No distribution offers the name.
    PluginError
        The plugin cannot be imported or breaks the contract.
    SpectrumError
        An option has a value that the instrument does not know.

    Examples
    --------
    >>> from specalign.instruments import get_instrument
    >>> get_instrument("lamost", mode="mrs").spectral_axis.unit
    Unit("Angstrom")
    """
    plugin = load_plugin("instruments", name)
    try:
        instrument = plugin(**options)
    except TypeError as error:
        raise PluginError(f"the instrument {name!r} does not take the options {sorted(options)}: {error}") from error
    if (plugin, instrument.__class__) not in _checked:
        from specalign.instruments.contract import check_contract

        check_contract(instrument)
        if instrument.name != name:
            raise PluginError(f"the instrument plugin {name!r} breaks the contract: its name is {instrument.name!r}")
        _checked.add((plugin, instrument.__class__))
    return instrument
