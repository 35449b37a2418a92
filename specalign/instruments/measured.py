"""Velocities that ``prepare`` measures, where it is asked to: never by default."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np

from specalign.display import Displayed
from specalign.exceptions import SpectrumError
from specalign.instruments.prepared import PreparedSpectra
from specalign.instruments.rows import rows_at
from specalign.instruments.velocity import radial_velocity

__all__ = ["MeasuredVelocity", "measure_rows"]

SOURCE = "measured"


@dataclass(frozen=True)
class MeasuredVelocity(Displayed):
    """Ask ``prepare`` to measure the velocities that it applies.

    Spectra that are not at rest are measured against the templates, whatever velocity their files state, and brought
    to rest.  A velocity that is not reliable rejects its row with the reason, and is never replaced by the stated one.
    Spectra at rest are left as they are.  In ``catalog``, ``velocity_source`` is ``"measured"``, and ``velocity_err``
    has the error, without that of the wavelength calibration.

    Parameters
    ----------
    templates : PreparedSpectra
        At rest, of the same instrument, normalised by the continuum (``get_instrument(name, ...,
        normalization="continuum")``).  The spectra are measured so too, however they are normalised in the end.
    max_velocity : `~astropy.units.Quantity`
    within : `~astropy.units.Quantity` (2,), optional
        See `specalign.instruments.velocity.radial_velocity`.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.instruments.measured import MeasuredVelocity
    >>> from specalign.instruments.resampling import doppler_factor
    >>> from specutils import Spectrum
    >>> from astropy.nddata import InverseVariance
    >>> axis = np.linspace(15150, 16950, 9000)
    >>> centres = np.random.default_rng(1).uniform(15200, 16900, 120)
    >>> def lines(wavelength):
    ...     return 1 - 0.4 * np.exp(-0.5 * ((wavelength[:, None] - centres) / 0.4) ** 2).sum(axis=1)
    >>> apogee = get_instrument("apogee")
    >>> templates = apogee.prepare_arrays(lines(axis)[None], spectral_axis=axis * u.AA, object_id=["template"])
    >>> facts = {"object_id": "star", "frame": "barycentric", "medium": "vacuum"}
    >>> moving = lines(axis / doppler_factor(42.0)) * u.Jy
    >>> errors = InverseVariance(np.full(9000, 1e4) / u.Jy**2)
    >>> spectrum = Spectrum(moving, axis * u.AA, uncertainty=errors, meta=facts)
    >>> prepared = apogee.prepare(spectrum, radial_velocity=MeasuredVelocity(templates))
    >>> prepared.catalog["velocity_applied"].round(1), prepared.catalog["velocity_source"].tolist()
    (<Quantity [42.] km / s>, ['measured'])
    """

    templates: PreparedSpectra
    max_velocity: Any = 1000 * u.km / u.s
    within: Any = None


def measure_rows(instrument, groups, refused, request):
    """Put measured velocities into the facts of rows that are not at rest.

    Parameters
    ----------
    instrument : Instrument
    groups : list of InputRows
    refused : list of (int, Facts, SpectrumError)
    request : MeasuredVelocity

    Returns
    -------
    groups, refused
        As given, with the rows that could not be measured moved from the first to the second.

    Raises
    ------
    SpectrumError
        The instrument's resolution hides velocities, or the templates are of another instrument or normalisation.

    Examples
    --------
    ``instrument.prepare`` calls it where ``radial_velocity`` is a `MeasuredVelocity`; spectra at rest are left alone:

    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.instruments.measured import MeasuredVelocity, measure_rows
    >>> apogee = get_instrument("apogee")
    >>> flux = np.ones((1, apogee.n_pixels))
    >>> templates = apogee.prepare_arrays(flux, spectral_axis=apogee.spectral_axis, object_id=["model"])
    >>> measure_rows(apogee, [], [], MeasuredVelocity(templates))
    ([], [])
    """
    _check(instrument, request.templates)
    moving = [np.flatnonzero(rows.facts.frame != "rest") for rows in groups]
    still = [_still(rows, at) for rows, at in zip(groups, moving, strict=True) if len(at)]
    if not still:
        return groups, refused
    found, reason = _measure(_by_continuum(instrument), still, request)
    kept = []
    for rows, at in zip(groups, moving, strict=True):
        failed = _enter(rows.facts, at, found, reason)
        refused = refused + [(int(rows.index[i]), rows.facts[i : i + 1], error) for i, error in failed.items()]
        kept.append(rows_at(rows, np.setdiff1d(np.arange(len(rows)), list(failed))) if failed else rows)
    return [rows for rows in kept if len(rows)], refused


def _check(instrument, templates):
    if not instrument.velocity_resolved:
        raise SpectrumError(
            f"radial_velocity: the resolution of {instrument.name} hides every velocity; measure none for it"
        )
    if not isinstance(templates, PreparedSpectra):
        raise SpectrumError(f"templates: expected PreparedSpectra at rest, got {type(templates).__name__}")
    rule = templates.instrument.options.get("normalization", "continuum")
    if templates.instrument.name != instrument.name or rule != "continuum":
        raise SpectrumError(
            f"templates: expected spectra of {instrument.name} normalised by the continuum, got "
            f"{templates.instrument.name} normalised by {rule}; prepare them with "
            f"get_instrument({instrument.name!r}, ..., normalization='continuum')"
        )


def _by_continuum(instrument):
    """The same instrument, normalised as the templates are."""
    if instrument.options.get("normalization", "continuum") == "continuum":
        return instrument
    return type(instrument)(**{**instrument.options, "normalization": "continuum"})


def _still(rows, at):
    """Some rows with velocity 0, so that they stay where they are."""
    part = rows_at(rows, slice(None) if len(at) == len(rows) else at)
    part.facts.velocity = np.zeros(len(at))
    return part


def _measure(instrument, still, request):
    """Velocity and error by spectrum_id, and the reason of those that have none."""
    n = sum(map(len, still))
    order = np.cumsum([0, *map(len, still)])
    numbered = [dataclasses.replace(r, index=np.arange(a, a + len(r))) for r, a in zip(still, order[:-1], strict=True)]
    prepared = instrument._prepare_groups(numbered, [], n)
    reason = {str(row["spectrum_id"]): str(row["reason"]) for row in prepared.rejected}
    if not len(prepared):
        return {}, reason
    table = radial_velocity(prepared, request.templates, max_velocity=request.max_velocity, within=request.within)
    found = {}
    for row in table:
        if row["reliable"]:
            found[str(row["spectrum_id"])] = [row[name].to_value(u.km / u.s) for name in ("velocity", "velocity_err")]
        else:
            reason[str(row["spectrum_id"])] = f"the measured velocity is not reliable: {row['reason']}"
    return found, reason


def _enter(facts, at, found, reason):
    """Enter what was found, and give the errors of the other rows by their place."""
    failed = {}
    for i in at:
        name = str(facts.spectrum_id[i])
        if name in found:
            facts.velocity[i], facts.velocity_err[i] = found[name]
        else:
            failed[int(i)] = SpectrumError(f"object {str(facts.object_id[i])!r}: {reason[name]}")
    facts.velocity_source = np.where(np.isin(np.arange(len(facts.frame)), at), SOURCE, facts.velocity_source)
    return failed
