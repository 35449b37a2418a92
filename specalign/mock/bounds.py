"""What a mock spectrum can tell: label gradients, the Cramér-Rao bound, and an oracle that reaches it.

With S the signal-to-noise ratio of each pixel and A the derivatives of ln(flux) with respect to labels and nuisances,
the Fisher matrix is A diag(S^2) A^T plus the inverse variances of what is known beforehand; its inverse bounds the
covariance of unbiased estimates from below (Kay, Fundamentals of Statistical Signal Processing, 1993, chapter 3; for
stellar labels Ting et al. 2017, ApJ 843, 32, and Sandford et al. 2020, ApJS 249, 24).  The nuisances are what nobody
knows of a spectrum: a polynomial factor on each detector, and the velocity.

The bound holds for the mock model, its independent Gaussian noise, and unbiased estimates.  A regressor that knows the
population is biased, and may lie below it where the data say little.
"""

import itertools

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.exceptions import LabelError
from specalign.mock.labels import ELEMENTS
from specalign.mock.model import SETUPS, noise, spectrum

__all__ = ["cramer_rao", "gradients", "label_covariance", "oracle_rank"]

_ABUNDANCES = tuple(f"{name}_fe" for name in ELEMENTS if name != "fe")
# label: step of the central difference, spread of the population (a weak prior)
_LABELS = {"teff": (20.0, 1000.0), "logg": (0.03, 1.2), "fe_h": (0.02, 0.5)}
_LABELS |= dict.fromkeys(_ABUNDANCES, (0.02, 0.3)) | {"vsini": (0.2, 10.0), "a_v": (0.02, 0.5)}
# instrument: degree of the polynomials, spread of their terms beyond the constant, spread of the velocity in km/s
_NUISANCES = {"apogee": (4, 10.0, 0.3), "nirspec": (4, 10.0, 40.0), "lamost": (1, 0.03, 4.0), "gaia_xp": (0, 1.0, 0.0)}
_FLAT = 1000.0  # how much wider than the population a flat prior is
_BLOCK = 64  # stars at a time: their derivatives are held in memory


def gradients(instrument, labels, names=None, radial_velocity=None):
    """Derivatives of noiseless spectra with respect to labels, by central differences.

    Parameters
    ----------
    instrument : {"apogee", "nirspec", "lamost", "gaia_xp"}
    labels : `~astropy.table.QTable` (N rows)
        As `draw_labels` gives it.
    names : sequence of str, optional
        Labels (L of them) among teff, logg, fe_h, the ``x_fe``, vsini and a_v; by default all that the table has.
        That of fe_h moves all elements, since [X/Fe] stays.
    radial_velocity : `~astropy.units.Quantity` (N,), optional
        As for `spectrum`.

    Returns
    -------
    `~numpy.ndarray` (N, L, P) float64
        In the flux unit of `spectrum` per K, dex, km/s and mag.

    Raises
    ------
    LabelError
        A name is not such a label, or not in the table.

    Examples
    --------
    >>> from specalign.mock import draw_labels, gradients
    >>> gradients("gaia_xp", draw_labels(3), names=("teff", "fe_h")).shape
    (3, 2, 343)
    """
    values = {name: getattr(labels[name], "value", labels[name]) for name in labels.colnames}
    result = []
    for name in _names(labels, names):
        step = _LABELS[name][0]
        up, down = (
            spectrum(instrument, values | {name: values[name] + side}, radial_velocity)[1].value.astype(float)
            for side in (step, -step)
        )
        result.append((up - down) / (2 * step))
    return np.stack(result, axis=1)


def _names(labels, names):
    names = tuple(name for name in _LABELS if name in labels.colnames) if names is None else tuple(names)
    wrong = [name for name in names if name not in _LABELS or name not in labels.colnames]
    if wrong or not names:
        raise LabelError(
            f"expected labels that the table has among {', '.join(_LABELS)}, got {', '.join(map(str, wrong)) or 'none'}"
        )
    return names


def label_covariance(instrument, labels, snr, *, names=None, prior=None, radial_velocity=None, degree=None):
    """Smallest covariance of unbiased label estimates: the inverse Fisher matrix, nuisances marginalised.

    Parameters
    ----------
    instrument : {"apogee", "nirspec", "lamost", "gaia_xp"}
    labels : `~astropy.table.QTable` (N rows)
    snr : float, `~numpy.ndarray` (N, P) or `~specalign.PreparedSpectra` (N rows)
        Signal-to-noise ratio of the median pixel, with the noise and the chip gaps of the mock files; or that of each
        pixel of the native axis, 0 where a pixel is bad; or spectra of the same stars in the same order, whose noise
        and masks count.  Correlations that resampling made are left out.
    names : sequence of str, optional
        The labels (L of them) that are unknown; by default all that the table has.  The others count as known.
    prior : "flat" or dict of str to float or `~astropy.units.Quantity`, optional
        Standard deviation of what is known of a label beforehand.  By default the spread of the population: 1000 K,
        1.2 and 0.5 dex for teff, logg and fe_h, 0.3 dex for each ``x_fe``, 10 km/s and 0.5 mag; a dictionary replaces
        some of these.  "flat" is a thousand times as wide.
    radial_velocity : `~astropy.units.Quantity` (N,), optional
        Where the stars' lines stand, for spectra that are not at rest.
    degree : int, optional
        Of the unknown polynomial factor on each detector; by default 4 where a continuum is divided out (apogee,
        nirspec), 1 with a spread of 3 % for lamost, whose shape is calibrated, and 0 for gaia_xp.

    Returns
    -------
    `~numpy.ndarray` (N, L, L)

    Raises
    ------
    LabelError
        As for `gradients`.
    ValueError
        snr has the wrong shape, or prepared spectra are of other stars or have correlated noise.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.mock import draw_labels, label_covariance
    >>> covariance = label_covariance("nirspec", draw_labels(2, 1), snr=100, names=["teff", "logg", "fe_h"])
    >>> covariance.shape, bool((np.sqrt(covariance[:, 0, 0]) < 200).all())  # teff in K
    ((2, 3, 3), True)
    """
    names = _names(labels, names)
    spread = _prior(names, prior)
    if np.ndim(getattr(snr, "flux", snr)) and len(snr) != len(labels):
        raise ValueError(f"snr: expected a row a star, got {len(snr)} rows for {len(labels)} stars")
    result = []
    for start in range(0, len(labels), _BLOCK):
        rows = slice(start, start + _BLOCK)
        velocity = _part(radial_velocity, rows)
        terms = _fisher_terms(instrument, labels[rows], _part(snr, rows), names, velocity, degree)
        result.append(_invert(*terms, spread))
    return np.concatenate(result)


def _part(values, rows):
    return values if values is None or np.ndim(getattr(values, "flux", values)) == 0 else values[rows]


def _prior(names, prior):
    spread = {name: _LABELS[name][1] for name in names}
    if isinstance(prior, str):
        if prior != "flat":
            raise ValueError(f"prior: expected 'flat', a dictionary or None, got {prior!r}")
        return _FLAT * np.array(list(spread.values()))
    for name, value in (prior or {}).items():
        if name in spread:
            spread[name] = float(getattr(value, "value", value))
    return np.array(list(spread.values()))


def _fisher_terms(instrument, labels, snr, names, radial_velocity, degree):
    """Derivatives of ln(flux) (N, L + K, P), weights (N, P), and spreads of the K nuisances."""
    setup = SETUPS[instrument]
    flux = spectrum(instrument, labels, radial_velocity)[1].value.astype(float)
    axis, weight = _weights(setup, flux, snr, labels)
    slopes = gradients(instrument, labels, names, radial_velocity) / flux[:, None]
    default, wiggle, velocity = _NUISANCES[instrument]
    smooth, spread = _polynomials(setup, axis, default if degree is None else degree, wiggle)
    terms = [_on_axis(setup, axis, slopes), np.broadcast_to(smooth, (len(flux), *smooth.shape))]
    if velocity:
        terms.append(_on_axis(setup, axis, _shift(setup, labels, flux, radial_velocity)[:, None]))
        spread = np.append(spread, velocity)
    return np.concatenate(terms, axis=1), weight**2, spread


def _shift(setup, labels, flux, radial_velocity):
    """Derivative of ln(flux) (N, P) with respect to the velocity, per km/s."""
    if setup.normalized:  # its model stands at rest
        return -np.gradient(np.log(flux), np.log(setup.axis), axis=1) / 299792.458
    step, centre = 5.0 * u.km / u.s, 0.0 * u.km / u.s if radial_velocity is None else radial_velocity
    up, down = (spectrum(setup.name, labels, centre + side)[1].value.astype(float) for side in (step, -step))
    return (up - down) / (2 * step.value * flux)


def _weights(setup, flux, snr, labels):
    """The wavelengths (P,) in Angstrom and the signal-to-noise ratio (N, P) of each pixel."""
    if hasattr(snr, "ivar"):
        return _prepared_weights(snr, labels)
    if np.ndim(snr) == 0:
        seen = np.zeros(flux.shape[1], bool)
        for start, stop in setup.chips:
            seen[start:stop] = True
        return setup.axis, np.where(seen, flux / noise(flux, np.full(len(flux), float(snr))), 0.0)
    if np.shape(snr) != flux.shape:
        raise ValueError(f"snr: expected a number or the shape {flux.shape}, got {np.shape(snr)}")
    return setup.axis, np.asarray(snr, dtype=float)


def _prepared_weights(prepared, labels):
    if prepared.covariance_factor is not None:
        raise ValueError("expected spectra with independent noise, got a covariance_factor")
    if not np.array_equal(prepared.object_id, np.asarray(labels["object_id"], dtype=str)):
        raise ValueError("expected spectra of the same stars as the labels, in the same order; match them by object_id")
    ratio = np.where(prepared.mask, 0.0, np.clip(prepared.flux, 0, None) * np.sqrt(prepared.ivar.astype(float)))
    # The square of a noisy ratio is too large by 1 on average.
    return prepared.spectral_axis.to_value(u.AA), np.sqrt(np.clip(ratio**2 - 1, 0, None))


def _on_axis(setup, axis, values):
    """Curves (N, L, P) on other wavelengths; 0 beyond the model's ends."""
    if axis is setup.axis:
        return values
    flat = [np.interp(axis, setup.axis, row, left=0, right=0) for row in values.reshape(-1, values.shape[-1])]
    return np.reshape(flat, (*values.shape[:2], len(axis)))


def _polynomials(setup, axis, degree, wiggle):
    """Legendre polynomials (K, P) of each detector, and the spreads of their coefficients.

    A pixel between two detectors belongs to the nearer one, since the gap of a star may lie a little elsewhere: no
    pixel's flux is known without a factor.
    """
    ends = [(setup.axis[start], setup.axis[slice(start, stop)][-1]) for start, stop in setup.chips]
    middles = [(high + low) / 2 for (_, high), (low, _) in itertools.pairwise(ends)]
    nearest = np.where((axis >= setup.axis[0]) & (axis <= setup.axis[-1]), np.searchsorted(middles, axis), -1)
    rows = []
    for number, (low, high) in enumerate(ends):
        x = 2 * np.log(axis / low) / np.log(high / low) - 1
        rows.append(np.where(nearest == number, np.polynomial.legendre.legvander(x, degree).T, 0.0))
    return np.concatenate(rows), np.tile([10.0] + [wiggle] * degree, len(rows))


def _invert(slopes, weight, nuisance, spread):
    """Covariance (N, L, L) of the labels; rows are scaled, so that no unit spoils the inverse."""
    fisher = (slopes * weight[:, None]) @ slopes.transpose(0, 2, 1)
    fisher += np.diag(np.concatenate([spread, nuisance]) ** -2.0)
    scale = np.sqrt(np.diagonal(fisher, axis1=1, axis2=2))
    inverse = np.linalg.inv(fisher / (scale[:, :, None] * scale[:, None])) / (scale[:, :, None] * scale[:, None])
    return inverse[:, : len(spread), : len(spread)]


def cramer_rao(instrument, labels, snr, *, names=None, prior=None, radial_velocity=None, degree=None):
    """Smallest standard deviations of unbiased label estimates, as `specalign.metrics.labels` takes them.

    Parameters are those of `label_covariance`.

    Returns
    -------
    `~astropy.table.QTable` (N rows)
        object_id where the labels have it, a column with unit a label, and, with fe_h and ``x_fe``, also ``x_h``.
        Where an instrument says nothing of a label, the column holds the prior.

    Examples
    --------
    >>> from specalign.mock import cramer_rao, draw_labels
    >>> bound = cramer_rao("apogee", draw_labels(2, seed=1), snr=100)
    >>> bound["mg_fe"].unit
    Unit("dex")
    """
    names = _names(labels, names)
    covariance = label_covariance(
        instrument, labels, snr, names=names, prior=prior, radial_velocity=radial_velocity, degree=degree
    )
    variance = dict(zip(names, np.diagonal(covariance, axis1=1, axis2=2).T, strict=True))
    for i, name in enumerate(names):
        if name.endswith("_fe") and "fe_h" in names:
            iron = names.index("fe_h")
            variance[f"{name[:-3]}_h"] = covariance[:, [i, iron]][:, :, [i, iron]].sum(axis=(1, 2))
    units = {"teff": u.K, "vsini": u.km / u.s, "a_v": u.mag}
    table = QTable({"object_id": labels["object_id"]} if "object_id" in labels.colnames else {})
    for name, values in variance.items():
        table[name] = np.sqrt(values) * units.get(name, u.dex)
    table.meta = {"label_system": labels.meta.get("label_system"), "instrument": instrument}
    return table


def oracle_rank(labels, covariance_a, covariance_b, rng, names=None):
    """Rank of each star of one instrument in another, for an oracle that estimates labels as well as the bound allows.

    Both instruments estimate the labels with Gaussian errors of their covariances; the oracle, which knows these,
    orders the stars of the second by likelihood.  No method that goes through these labels finds more stars on average,
    as far as the bound is reached; one that knows the population may.  The cost grows with the square of N.

    Parameters
    ----------
    labels : `~astropy.table.QTable` (N rows)
        True labels.
    covariance_a, covariance_b : `~numpy.ndarray` (N, L, L)
        As `label_covariance` gives them with ``prior="flat"``: an oracle must not know of a star what its instrument
        cannot see.
    rng : `~numpy.random.Generator`
    names : sequence of str, optional
        The L labels of the covariances; by default all that the table has.

    Returns
    -------
    `~numpy.ndarray` (N,) int
        1 where the star itself is the most likely one.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.mock import draw_labels, label_covariance, oracle_rank
    >>> labels = draw_labels(20, seed=1)
    >>> a, b = (label_covariance(name, labels, 100, prior="flat") for name in ("apogee", "gaia_xp"))
    >>> rank = oracle_rank(labels, a, b, np.random.default_rng(0))
    >>> rank.shape
    (20,)
    """
    names = _names(labels, names)
    truth = np.stack([np.asarray(getattr(labels[name], "value", labels[name]), dtype=float) for name in names], axis=1)
    shape = (len(truth), len(names), len(names))
    if np.shape(covariance_a) != shape or np.shape(covariance_b) != shape:
        raise ValueError(f"expected covariances of shape {shape}, got {covariance_a.shape} and {covariance_b.shape}")
    a, b = (truth + _deviates(covariance, rng) for covariance in (covariance_a, covariance_b))
    ranks = []
    for n in range(len(truth)):
        root = np.linalg.cholesky(covariance_a[n] + covariance_b)
        distance = np.linalg.solve(root, (a[n] - b)[..., None])[..., 0]
        fit = -0.5 * np.sum(distance**2, axis=1) - np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        ranks.append(1 + np.sum(fit > fit[n]))
    return np.array(ranks)


def _deviates(covariance, rng):
    return np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.standard_normal(covariance.shape[:2]))
