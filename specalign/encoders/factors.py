"""Noise-weighted factor analysis: what a spectrum says of a few factors, given its own noise, mask and gaps.

A spectrum is modelled as ``mean + basis @ factors + noise`` with standard normal factors and the noise that each
spectrum states of itself, the correlated part included.  The likelihood of the factors is then Gaussian, and its
precision matrix and information vector hold everything that the model can learn of the spectrum: a masked pixel, or one
without information, adds nothing to them.  The basis is fitted by expectation maximisation (Roweis 1998, NIPS 10, 626;
Bailey 2012, PASP 124, 1015), here with the posterior covariance of the factors kept, and with a variance a pixel that
the stated noise does not explain.
"""

import torch
from torch import nn

from specalign.encoders.base import as_tensor
from specalign.encoders.principal_axes import principal_axes, whitening
from specalign.encoders.scaling import spread_rows

__all__ = ["FactorAnalysis"]

CORRELATED_ROWS = 1024  # that the size of the noise is fitted to, where a linear system a row makes it dear
BLOCK_ROWS = 512
FEW_ROWS = 32  # fewer are done one by one: the products of all pairs of factors would take longer than they
ITERATIONS = 3
MIN_SHARE = 0.02  # a pixel that fewer training rows have is not used
DEVIATIONS = 3.0  # of a variance from so few rows: what noise makes of it is large beside XP's independent noise
MIN_INDEPENDENT = 1e-3  # least share of a pixel's variance that is taken as uncorrelated


class FactorAnalysis(nn.Module):
    """Factors of spectra of one grid, under each spectrum's own noise.

    Parameters
    ----------
    n_pixels : int
    n_factors : int

    Attributes
    ----------
    mean : `~torch.Tensor` (P,)
    basis : `~torch.Tensor` (P, K)
        0 in pixels that are not used.
    excess : `~torch.Tensor` (P,)
        Variance beyond the factors and the stated noise.
    scale : `~torch.Tensor` ()
        Factor of the stated variance; below 1 where the residuals are smaller than stated.

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.factors import FactorAnalysis
    >>> rng = torch.Generator().manual_seed(0)
    >>> truth = torch.randn(200, 1, generator=rng)
    >>> flux = 1 + 0.1 * truth * torch.linspace(-1, 1, 50) + 0.01 * torch.randn(200, 50, generator=rng)
    >>> ivar, mask = torch.full((200, 50), 1e4), torch.zeros(200, 50, dtype=torch.bool)
    >>> model = FactorAnalysis(n_pixels=50, n_factors=1)
    >>> model.fit(flux, ivar, mask, seed=0)
    >>> mean, _ = model.posterior(model.summarize(flux, ivar, mask))
    >>> bool(torch.corrcoef(torch.cat([mean.T, truth.T]))[0, 1].abs() > 0.99)
    True
    """

    def __init__(self, n_pixels, n_factors):
        super().__init__()
        self.n_factors = n_factors
        self.register_buffer("mean", torch.zeros(n_pixels))
        self.register_buffer("basis", torch.zeros(n_pixels, n_factors))
        self.register_buffer("excess", torch.zeros(n_pixels))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, flux, ivar, mask, *, seed=0, noise_scale=None, noise_basis=None):
        """Fit mean, basis and excess variance to training rows (N, P).

        The basis begins as the principal axes in units of the noise.  Where the noise is independent, some rounds of
        expectation maximisation follow; where it is correlated, they would cost more than they gain.

        Parameters
        ----------
        flux, ivar, mask : (N, P) array or `~torch.Tensor`
        seed : int
            Of the random start.
        noise_scale, noise_basis : (N, K) and (K, P), optional
            The correlated part of the noise.
        """
        if len(flux) == 0:
            raise ValueError("expected at least one training spectrum to fit the factors, got none")
        flux, ivar = _hidden(flux, ivar, mask)
        used = (ivar > 0).sum(0) > MIN_SHARE * len(flux)
        ivar = ivar * used
        noise = None if noise_scale is None else (as_tensor(noise_scale), as_tensor(noise_basis))
        self._start(flux, ivar, used, noise, seed)
        if noise is None:
            for _ in range(ITERATIONS):
                self._step(flux, ivar, used)
        else:
            rows = spread_rows(len(flux), CORRELATED_ROWS)
            flux, some, noise = flux[rows], ivar[rows], (noise[0][rows], noise[1])
            self._fit_noise(flux, some, *self._expect(flux, some, noise), DEVIATIONS)
            self._rotate(self._weight(ivar))

    def _start(self, flux, ivar, used, noise, seed):
        """Weighted mean, and the principal axes of the residuals in units of the noise."""
        self.mean.copy_((flux * ivar).sum(0) / ivar.sum(0).clamp(min=1e-30))
        residual = (flux - self.mean).masked_fill(ivar == 0, 0)
        axes = principal_axes(residual, ivar > 0, whitening(ivar, _independent, noise), self.n_factors, seed)
        self.basis.zero_()
        self.basis[:, : axes.shape[1]] = axes * used[:, None]

    def _step(self, flux, ivar, used):
        """One round of expectation maximisation, then the noise, then a rotation that keeps the prior standard."""
        mean, covariance = self._expect(flux, ivar, None)
        weight = self._weight(ivar)
        one = torch.cat([mean, torch.ones(len(mean), 1)], dim=1)
        second = one[:, :, None] * one[:, None, :]
        second[:, :-1, :-1] += covariance
        solution = _solve_pixels(weight, flux, one, second)
        self.mean.copy_(torch.where(used, solution[:, -1], self.mean))
        self.basis.copy_(solution[:, :-1] * used[:, None])
        self._fit_noise(flux, ivar, mean, covariance)
        prior = second[:, :-1, :-1].mean(0)
        self.basis.copy_(self.basis @ torch.linalg.cholesky(prior))
        self._rotate(self._weight(ivar))

    def _expect(self, flux, ivar, noise):
        """Posterior mean (N, K) and covariance (N, K, K) of the factors."""
        mean, covariance = [], []
        for start in range(0, len(flux), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            block = None if noise is None else (noise[0][rows], noise[1])
            precision, information = self._likelihood(flux[rows], ivar[rows], block)
            inverse = torch.linalg.inv(precision + torch.eye(self.n_factors, dtype=precision.dtype))
            mean.append((inverse @ information[:, :, None])[:, :, 0].float())
            covariance.append(inverse.float())
        return torch.cat(mean), torch.cat(covariance)

    def _fit_noise(self, flux, ivar, mean, covariance, deviations=0.0):
        """Excess variance a pixel, if that many deviations beyond 0; and a factor below 1 of too large stated noise."""
        good = ivar > 0
        count = good.sum(0).clamp(min=1)
        square = ((flux - self.mean - mean @ self.basis.T) ** 2).masked_fill(~good, 0).sum(0) / count
        square = square + ((self.basis @ covariance.mean(0)) * self.basis).sum(1)
        stated = torch.where(good, 1 / ivar.masked_fill(~good, 1), 0).sum(0) / count
        seen = (stated > 0) & (good.sum(0) > 0)
        if bool(seen.any()):
            self.scale.copy_((square[seen] / stated[seen]).median().clamp(min=1e-4, max=1.0))
        excess = square - self.scale * stated
        certain = excess > deviations * (2 / count).sqrt() * self.scale * stated
        self.excess.copy_(excess.clamp(min=0) * seen * certain)

    def _rotate(self, weight):
        """Choose the factors whose mean precision is diagonal: the most constrained one first."""
        precision = (self.basis * weight.mean(0)[:, None]).T @ self.basis
        vectors = torch.linalg.eigh(precision.double()).eigenvectors.flip(1)
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        self.basis.copy_((self.basis.double() @ (vectors * largest.sign())).float())

    def _weight(self, ivar):
        """Inverse variance with the scale and the excess; exactly 0 where ivar is 0."""
        return ivar / (self.scale + self.excess * ivar)

    @torch.no_grad()
    def summarize(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """The likelihood of the factors of each row.

        Parameters
        ----------
        flux, ivar, mask : (n, P) `~torch.Tensor` or array
        noise_scale, noise_basis : (n, K') and (K', P), optional
            The correlated part of the noise, ``noise_basis.T @ diag(noise_scale**2) @ noise_basis``; ``ivar`` states
            the whole variance of a pixel.

        Returns
        -------
        dict of str to `~torch.Tensor`
            rotation (n, K, K), precision (n, K), projection (n, K): the precision matrix is
            ``rotation @ diag(precision) @ rotation.T`` and the information vector ``rotation @ projection``.
        """
        flux, ivar = _hidden(flux, ivar, mask)
        noise = None if noise_scale is None else (as_tensor(noise_scale), as_tensor(noise_basis))
        precision, information = self._likelihood(flux, ivar, noise)
        values, vectors = torch.linalg.eigh(precision.double())
        projection = (vectors.mT @ information.double()[:, :, None])[:, :, 0]
        return {
            "rotation": vectors.float(),
            "precision": values.clamp(min=0).float(),
            "projection": projection.float(),
        }

    def _likelihood(self, flux, ivar, noise):
        """Precision matrix (n, K, K) and information vector (n, K)."""
        residual = (flux - self.mean).masked_fill(ivar == 0, 0)
        if noise is None:
            return self._diagonal(residual, self._weight(ivar))
        return self._correlated(residual, ivar, *noise)

    def _diagonal(self, residual, weight):
        information = (residual * weight) @ self.basis
        if len(weight) < FEW_ROWS:
            precision = (self.basis.T * weight[:, None, :]) @ self.basis
            return 0.5 * (precision + precision.mT), information
        i, j = torch.triu_indices(self.n_factors, self.n_factors)
        half = weight @ (self.basis[:, i] * self.basis[:, j])
        return _symmetric(half, self.n_factors), information

    def _correlated(self, residual, ivar, noise_scale, noise_basis):
        """Woodbury: the noise is diagonal but for a part of low rank."""
        good = ivar > 0
        total = torch.where(good, 1 / ivar.masked_fill(~good, 1), 1).double()
        shared = noise_scale.double() ** 2 @ noise_basis.double() ** 2
        alone = _independent(total, shared) * self.scale + self.excess
        weight = good / alone
        basis, noise = self.basis.double(), noise_basis.double() * self.scale.double().sqrt()
        inner = torch.diag_embed(noise_scale.double().clamp(min=1e-12) ** -2)
        inner = inner + (noise * weight[:, None, :]) @ noise.T
        cross = (noise * weight[:, None, :]) @ basis  # (n, K', K)
        seen = (residual.double() * weight) @ noise.T
        solved = torch.linalg.solve(inner, torch.cat([cross, seen[:, :, None]], dim=2))
        precision = (basis.T * weight[:, None, :]) @ basis - cross.mT @ solved[:, :, :-1]
        information = (residual.double() * weight) @ basis - (cross.mT @ solved[:, :, -1:])[:, :, 0]
        return 0.5 * (precision + precision.mT), information

    @staticmethod
    def add_noise(summary, strength, generator):
        """The summary of the same spectra with more noise of the stated kind.

        Each row gets ``a`` times its own noise on top, with ``a`` uniform from 0 to ``strength``.
        """
        precision = summary["precision"]
        amplitude = strength * torch.rand(len(precision), 1, generator=generator, device=precision.device)
        drawn = torch.randn(precision.shape, generator=generator, device=precision.device)
        projection = summary["projection"] + amplitude * precision.sqrt() * drawn
        total = 1 + amplitude**2
        noisy = {"precision": precision / total, "projection": projection / total}
        if "log_snr" in summary:
            noisy["log_snr"] = summary["log_snr"] - 0.5 * torch.log10(total[:, 0])
        return summary | noisy

    @staticmethod
    def posterior(summary):
        """Posterior mean and standard deviation (n, K) of the factors, under their standard normal prior."""
        rotation, variance = summary["rotation"], 1 / (1 + summary["precision"])
        mean = (rotation @ (variance * summary["projection"])[:, :, None])[:, :, 0]
        deviation = ((rotation**2) @ variance[:, :, None])[:, :, 0].sqrt()
        return mean, deviation


def _hidden(flux, ivar, mask):
    """Flux and inverse variance as tensors, with 0 under the mask."""
    mask = as_tensor(mask, torch.bool)
    ivar = as_tensor(ivar).masked_fill(mask, 0)
    return as_tensor(flux).masked_fill(ivar == 0, 0), ivar


def _independent(total, shared):
    """What of a pixel's variance is its own, where a part is shared with others."""
    return torch.maximum(total - shared, MIN_INDEPENDENT * total)


def _symmetric(half, size):
    """Full matrices (n, K, K) of the rows of their upper triangles."""
    full = half.new_zeros(len(half), size, size)
    i, j = torch.triu_indices(size, size)
    full[:, i, j] = half
    full[:, j, i] = half
    return full


def _solve_pixels(weight, flux, one, second):
    """Weighted least squares of every pixel on the factors and a constant: (P, K + 1)."""
    size = one.shape[1]
    i, j = torch.triu_indices(size, size)
    normal = _symmetric((weight.T @ second[:, i, j]).double(), size)
    target = ((weight * flux).T @ one).double()
    level = normal.diagonal(dim1=1, dim2=2).mean(dim=1)
    ridge = torch.where(level > 0, 1e-9 * level, 1.0)
    normal = normal + ridge[:, None, None] * torch.eye(size, dtype=torch.float64)
    return torch.linalg.solve(normal, target[:, :, None])[:, :, 0].float()
