"""Principal axes of spectra, measured in units of their noise: where a fit of factors begins.

What a spectrum says is large where its noise is small, so axes are sought after the stated noise has been made white,
the correlated part included.  The noise that is taken is that of the noisier spectra: in quiet ones many axes stand
out, of which the noisy ones, whose labels are the least certain, show few.  The variances of the axes are those of
probabilistic principal components (Tipping & Bishop 1999, J. R. Stat. Soc. B 61, 611), and pixels that a spectrum
lacks are filled with what its other pixels say of them, a few times over.
"""

from dataclasses import dataclass

import torch

__all__ = ["Whitening", "principal_axes", "whitening"]

NOISY = 0.8  # quantile of the training rows' noise that is made white
NOISE_ROWS = 2048  # enough for a quantile of every pixel's noise
COLUMNS = 1000  # pixels at a time
NARROW = 512  # pixels up to which all axes are computed: a power iteration does not tell faint ones apart
ROUNDS = 4  # of filling and searching
FIRST_POWERS, POWERS = 8, 3  # of the power iteration, in the first round and in the others
MIN_MISSING = 1e-3  # below this share of missing pixels nothing is filled
FEW_AXES, FEW_ROWS = 32, 3  # as many axes need three spectra each,
MANY_ROWS = 64  # and more axes this many: noise would make most of the others
MIN_SIGNAL = 0.02  # least share of an axis' variance that is taken as signal: together, doubtful axes know something


@dataclass(frozen=True)
class Whitening:
    """Noise of one size in every direction, and back.

    ``root`` is a standard deviation a pixel (P,), or the lower Cholesky factor (P, P) of a covariance.
    """

    root: torch.Tensor

    def apply(self, rows):
        """Rows (n, P) in units of the noise."""
        if self.root.ndim == 1:
            return rows / self.root
        return torch.linalg.solve_triangular(self.root, rows.double().T, upper=False).T.float()

    def undo(self, columns):
        """Columns (P, k) of whitened pixels as columns of pixels."""
        if self.root.ndim == 1:
            return columns * self.root[:, None]
        return (self.root @ columns.double()).float()


def whitening(ivar, independent, noise):
    """The noise of the noisier rows.

    Parameters
    ----------
    ivar : (n, P) `~torch.Tensor`
        0 = no information.
    independent : callable
        Variance (n, P) of a pixel's own from the total variance and the correlated part.
    noise : tuple of `~torch.Tensor` or None
        ``noise_scale`` (n, K) and ``noise_basis`` (K, P).

    Returns
    -------
    Whitening
    """
    ivar = ivar[:NOISE_ROWS]
    total = torch.where(ivar > 0, 1 / ivar.masked_fill(ivar == 0, 1), torch.nan)
    if noise is None:
        return Whitening(_quantile(total).nan_to_num(1.0).sqrt())
    square, basis = noise[0][:NOISE_ROWS].double() ** 2, noise[1].double()
    own = _quantile(independent(total.double(), square @ basis**2)).nan_to_num(1.0)
    covariance = (basis.T * _quantile(square)) @ basis + torch.diag(own)
    return Whitening(torch.linalg.cholesky(covariance))


def _quantile(values):
    """Of the noisier rows, column by column (K,), ignoring NaN."""
    return torch.cat([part.nanquantile(NOISY, dim=0) for part in values.split(COLUMNS, dim=1)])


def principal_axes(residual, good, white, n_axes, seed):
    """Axes (P, k) of residuals (n, P), as long as the standard deviation of the spectra along each.

    Parameters
    ----------
    residual : (n, P) `~torch.Tensor`
        0 where a spectrum has no information; filled in place.
    good : (n, P) bool `~torch.Tensor`
    white : Whitening
    n_axes, seed : int

    Returns
    -------
    `~torch.Tensor`
        With n_axes columns or what so few spectra afford, the most conspicuous first.
    """
    missing = ~good & good.any(dim=0)
    rounds = ROUNDS if float(missing.float().mean()) > MIN_MISSING else 1
    generator = torch.Generator().manual_seed(seed)
    axes = torch.randn(residual.shape[1], _affordable(n_axes, *residual.shape), generator=generator)
    for turn in range(rounds):
        rows = white.apply(residual)
        axes, variance, rest = _search(rows, axes, FIRST_POWERS if turn == 0 else POWERS)
        if turn < rounds - 1:
            share = signal_variance(variance, rest) / variance
            filled = white.undo(axes) @ (share[:, None] * (axes.T @ rows.T))
            residual[missing] = filled.T[missing]
    return white.undo(axes) * signal_variance(variance, rest).sqrt()


def signal_variance(variance, rest):
    """What of the variance (k,) along the leading axes is signal, if all others have ``rest``."""
    return torch.maximum(variance - rest, MIN_SIGNAL * variance)


def _search(rows, axes, powers):
    """Orthonormal leading axes, the variance along each, and the mean variance along all others."""
    if rows.shape[1] <= NARROW:
        axes = torch.linalg.eigh((rows.T @ rows).double()).eigenvectors[:, -axes.shape[1] :].float()
    else:
        for _ in range(powers):
            axes = torch.linalg.qr(rows.T @ (rows @ axes)).Q
    _, singular, right = torch.linalg.svd(rows @ axes, full_matrices=False)
    variance = singular.square().clamp(min=1e-30) / len(rows)
    others = max(1, _width(rows) - len(variance))
    rest = (rows.square().sum() / len(rows) - variance.sum()).clamp(min=0) / others
    return axes @ right.T, variance, rest


def _affordable(n_axes, n_rows, n_pixels):
    """How many axes so many spectra tell from noise."""
    most = min(n_rows // FEW_ROWS, max(FEW_AXES, n_rows // MANY_ROWS))
    return min(n_axes, max(1, most), n_pixels)


def _width(rows):
    """Number of columns that are not 0 everywhere."""
    return int((rows != 0).any(dim=0).sum())
