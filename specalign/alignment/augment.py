"""More noise, of the kind that a spectrum states of itself: every epoch sees another noisy copy of a star."""

import torch

__all__ = ["add_noise"]


def add_noise(batch, strength, generator, basis=None):
    """Add noise of the stated variance to each row, and lower its inverse variance by as much.

    A row gets ``a`` times its own noise, with ``a`` uniform from 0 to ``strength``, so that its variance becomes
    1 + a^2 times what it was.  Where the noise is correlated, the drawn noise is, too.

    Parameters
    ----------
    batch : dict
        flux, ivar, mask (n, P), and noise_scale (n, K) where the noise is correlated; not modified.  ``ivar`` states
        the whole variance of a pixel, the correlated part included.
    strength : float
        0 = none.
    generator : `~torch.Generator`
    basis : `~torch.Tensor` (K, P), optional
        Of the correlated part: its covariance is ``basis.T @ diag(noise_scale ** 2) @ basis``.

    Returns
    -------
    dict
    """
    if strength == 0:
        return batch
    ivar = batch["ivar"].masked_fill(batch["mask"], 0)
    amplitude = strength * _random(torch.rand, (len(ivar), 1), generator)
    variance = torch.where(ivar > 0, 1 / torch.where(ivar > 0, ivar, 1), 0)
    noise = _correlated(batch, basis, generator)
    if basis is not None and "noise_scale" in batch:
        variance = (variance - batch["noise_scale"] ** 2 @ basis**2).clamp(min=0)
    noise = noise + variance.sqrt() * _random(torch.randn, ivar.shape, generator)
    flux = torch.where(ivar > 0, batch["flux"] + amplitude * noise, batch["flux"])
    noisy = batch | {"flux": flux, "ivar": ivar / (1 + amplitude**2)}
    if "noise_scale" in batch:
        noisy["noise_scale"] = batch["noise_scale"] * (1 + amplitude**2).sqrt()
    return noisy


def _correlated(batch, basis, generator):
    if basis is None or "noise_scale" not in batch:
        return 0
    scale = batch["noise_scale"]
    return (scale * _random(torch.randn, scale.shape, generator)) @ basis


def _random(draw, shape, generator):
    return draw(shape, generator=generator, device=generator.device)
