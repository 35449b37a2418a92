"""Arrays to vectors; one plugin a file.

``mlp``          residual perceptron on noise-weighted pixels, the default
``starnet``      the convolutional network of StarNet, by default in its published shape
``specformer``   a transformer over windows of pixels, which can be trained without labels
``autoencoder``  residual perceptrons through a bottleneck and back, likewise
"""

import torch

from specalign.encoders.base import Encoder, check_encoder
from specalign.encoders.layers import Summary, summary
from specalign.plugins import check_options, load_plugin

__all__ = ["Encoder", "Summary", "check_encoder", "get_encoder", "summary"]

_CHECKED = set()  # classes whose contract was checked in this process


def get_encoder(name, *, n_pixels=None, spectral_axis=None, embed_dim=128, seed=0, **options):
    """Build an encoder by its plugin's name.

    Parameters
    ----------
    name : str
        ``"mlp"``, ``"starnet"``, ``"specformer"``, ``"autoencoder"`` or the name of an installed plugin.
    n_pixels : int, optional
    spectral_axis : sequence (P,), optional
        The grid, in place of ``n_pixels``.
    embed_dim : int
        Length of the vectors.
    seed : int
        Of the initial weights; the global random state is left as it is.
    **options
        Keywords of the encoder.

    Returns
    -------
    Encoder

    Raises
    ------
    TypeError, ValueError
        An option is unknown, which names those that there are, or wrong; or both or neither of ``n_pixels`` and
        ``spectral_axis`` are given.
    UnknownPluginError, PluginError
        No such encoder, or it breaks the contract; the message names the clause.

    Examples
    --------
    >>> from specalign import get_encoder
    >>> encoder = get_encoder("starnet", n_pixels=8192, embed_dim=3)
    >>> sum(p.numel() for p in encoder.parameters())
    8406327
    """
    if (n_pixels is None) == (spectral_axis is None):
        raise ValueError("expected either n_pixels or spectral_axis")
    n_pixels = len(spectral_axis) if n_pixels is None else n_pixels
    factory = load_plugin("encoders", name)
    check_options("encoders", name, factory, ("n_pixels", "embed_dim"), options)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoder = factory(n_pixels=n_pixels, embed_dim=embed_dim, **options)
        if type(encoder) not in _CHECKED:
            check_encoder(encoder, name)
            _CHECKED.add(type(encoder))
    return encoder
