"""Errors of predicted labels, from residuals of stars that were not trained on."""

from dataclasses import asdict, dataclass

import numpy as np

from specalign.display import Displayed

__all__ = ["LabelErrors"]

ENOUGH = 20  # stars below which a dependence on S/N is not looked for
SHARES = np.linspace(0, 1, 101)
LOWEST_SNR = 1e-3


@dataclass(frozen=True)
class LabelErrors(Displayed):
    """A floor and a part that falls with the signal to noise: error^2 = floor^2 + (slope / snr)^2.

    Attributes
    ----------
    floor, slope : list of float
        A label each, in its unit; None where no residual is known.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.alignment.calibration import LabelErrors
    >>> snr = np.geomspace(10, 1000, 2000)
    >>> residual = np.random.default_rng(1).normal(size=2000) * np.hypot(50, 2000 / snr)  # K
    >>> errors = LabelErrors.fit(residual[:, None], snr)
    >>> bool(40 < errors.floor[0] < 60 and 1800 < errors.slope[0] < 2200)
    True
    """

    floor: list
    slope: list

    @classmethod
    def fit(cls, residuals, snr):
        """The most likely errors of Gaussian residuals.

        The part that falls with the S/N is used where it pays for its parameter by Akaike's criterion.  Whatever the
        share of the two parts, the squared residuals over the squared errors have the mean 1.

        Parameters
        ----------
        residuals : (n, L) float
            Predicted - true; NaN = unknown.
        snr : (n,) float
        """
        found = [_fit_label(column, np.maximum(snr, LOWEST_SNR)) for column in residuals.T]
        return cls([floor for floor, _ in found], [slope for _, slope in found])

    def at(self, snr):
        """Errors (N, L) at some S/N (N,); NaN for a label without residuals."""
        floor, slope = np.array(self.floor, dtype=float), np.array(self.slope, dtype=float)
        return np.sqrt(floor**2 + (slope / np.maximum(snr, LOWEST_SNR)[:, None]) ** 2)

    def as_dict(self):
        """JSON-like form."""
        return asdict(self)


def _fit_label(residual, snr):
    known = np.isfinite(residual)
    if known.sum() < 2:
        return None, None
    square, relative = residual[known] ** 2, (np.median(snr[known]) / snr[known]) ** 2
    shares = SHARES if known.sum() >= ENOUGH else SHARES[:1]
    shape = 1 + shares[:, None] * (relative - 1)
    # the scale that makes the mean of square / variance 1 is also the most likely one
    scale = (square / np.maximum(shape, 1e-12)).mean(axis=1)
    cost = np.log(np.maximum(scale, 1e-300)) + np.log(np.maximum(shape, 1e-12)).mean(axis=1)
    best = int(np.argmin(cost))
    if len(square) * (cost[0] - cost[best]) < 2:
        best = 0
    total, share = scale[best], shares[best]
    return float(np.sqrt(total * (1 - share))), float(np.sqrt(total * share) * np.median(snr[known]))
