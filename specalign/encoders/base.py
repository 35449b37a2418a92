"""What every encoder takes, gives and promises."""

import math

import numpy as np
import torch
from torch import nn

from specalign.display import Displayed, brief
from specalign.exceptions import PluginError

__all__ = [
    "Encoder",
    "as_tensor",
    "check_buffers",
    "check_config",
    "check_encoder",
    "check_output",
    "positive",
    "signal_to_noise",
]


class Encoder(nn.Module, Displayed):
    """Spectra of one grid to vectors; a subclass supplies `encode`, and `fit_scaler` where it scales its input.

    The base class converts and checks the input, and hides everything under the mask, so that masked pixels cannot
    influence an embedding.  All state is in parameters and persistent buffers; all options are in `config`.

    An encoder that begins with a fixed reduction of the pixels sets ``summarizes`` and supplies `summarize`,
    `encode_summary` and `add_noise` instead of `encode`: training then reduces each spectrum once.

    An encoder for which every good pixel is worth the same says ``uses_ivar = False``.  One that can give spectra back
    says ``reconstructs`` and supplies `reconstruct`; `specalign.pretrain` trains it without labels.

    Parameters
    ----------
    n_pixels : int
    embed_dim : int
        Length of the vectors.

    Raises
    ------
    ValueError
        A size is not a positive integer.

    Examples
    --------
    The smallest one, a linear map of the flux:

    >>> import torch
    >>> from specalign.encoders import Encoder
    >>> class Linear(Encoder):
    ...     def __init__(self, n_pixels, embed_dim=128):
    ...         super().__init__(n_pixels, embed_dim)
    ...         self.head = torch.nn.Linear(n_pixels, embed_dim)
    ...
    ...     def encode(self, flux, ivar, mask, snr):
    ...         return self.head(flux)
    >>> encoder = Linear(n_pixels=3, embed_dim=2)
    >>> flux, mask = torch.tensor([[1.0, float("nan"), 1.0]]), torch.tensor([[False, True, False]])
    >>> encoder(flux, torch.ones(1, 3), mask).shape  # what lies under the mask does not matter
    torch.Size([1, 2])
    """

    summarizes = False
    reconstructs = False
    uses_ivar = True
    #: Good pixels that a spectrum must have.
    least_pixels = 1
    #: Learning rate of its weights over that which a training is given, for shapes that need smaller steps.
    rate = 1.0
    #: Was trained before, or comes from a file: its weights belong to the scaling of the input that it has.
    scaled = False
    #: How vectors follow from flux, ivar and mask, in sentences that name its tensors; published weights carry them.
    recipe = ()
    #: What happened in its training without labels, and which spectra it saw; see `specalign.pretrain`.
    history = None
    origin = None

    def __init__(self, n_pixels, embed_dim=128):
        super().__init__()
        self.n_pixels = positive("n_pixels", n_pixels)
        self.embed_dim = positive("embed_dim", embed_dim)

    def _facts(self):
        fixed = sum(buffer.numel() for buffer in self.buffers())
        return {
            "spectra": f"{self.n_pixels} pixels",
            "vectors": f"{self.embed_dim} dimensions",
            "parameters": f"{sum(p.numel() for p in self.parameters()):,}, and {fixed:,} numbers that are not trained",
            "options": brief(self.config()),
        }

    def config(self):
        """JSON-like keywords that build an encoder of the same shape."""
        return {"n_pixels": self.n_pixels, "embed_dim": self.embed_dim}

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        """Learn the scaling of the input from training rows (N, P); the base class has nothing to learn.

        The correlated part of the noise, where there is one, is given as for `forward`.
        """

    def fit_axis(self, wavelength):
        """Learn where the pixels are (P,), in vacuum Angstrom; the base class does not need to know."""

    def encode(self, flux, ivar, mask, snr):
        """Vectors (n, embed_dim) from clean float32 tensors: flux and ivar are 0 where mask is True.

        ``snr`` (n,) is positive.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define encode(flux, ivar, mask, snr)")

    def summarize(self, flux, ivar, mask, *, snr=None, noise_scale=None, noise_basis=None):
        """What `encode_summary` needs of each row, as a dict of tensors (n, ...); takes what `forward` takes."""
        raise NotImplementedError(f"{type(self).__name__} does not summarize spectra")

    def encode_summary(self, summary):
        """Vectors (n, embed_dim) from a summary."""
        raise NotImplementedError(f"{type(self).__name__} does not summarize spectra")

    def add_noise(self, summary, strength, generator):
        """The summary of the same rows with up to ``strength`` times their own noise on top."""
        raise NotImplementedError(f"{type(self).__name__} does not summarize spectra")

    def reconstruct(self, flux, ivar, mask, *, snr=None, generator):
        """The spectra that these rows are, of what is left of them behind a mask or a bottleneck.

        Takes what `forward` takes.

        Parameters
        ----------
        generator : `~torch.Generator`
            Of what is hidden.

        Returns
        -------
        Reconstruction
            Flux (n, P), the scale of its errors, and the pixels that are predicted and not copied; see
            `specalign.encoders.standardized`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not reconstruct spectra")

    def freeze(self):
        """Keep everything but the head as it is when an aligner or a regressor trains this encoder.

        Returns
        -------
        Encoder
            This one.

        Raises
        ------
        ValueError
            The encoder has no part that is called ``head``.

        Examples
        --------
        >>> from specalign import get_encoder
        >>> encoder = get_encoder("mlp", n_pixels=50, embed_dim=8).freeze()
        >>> [name for name, p in encoder.named_parameters() if p.requires_grad]
        ['head.0.weight', 'head.0.bias', 'head.1.weight', 'head.1.bias']
        """
        if not isinstance(getattr(self, "head", None), nn.Module):
            raise ValueError(f"{type(self).__name__} has no head that could be trained alone")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("head."))
        return self

    def forward(self, flux, ivar, mask, *, snr=None, noise_scale=None, noise_basis=None):
        """Embed rows of spectra.

        Parameters
        ----------
        flux, ivar : (n, n_pixels) `~torch.Tensor` or array
            Normalised flux and its inverse variance (0 = no information).  Arrays of any byte order or precision are
            converted to float32.
        mask : (n, n_pixels) bool
            True = bad; whatever such pixels hold does not matter.
        snr : (n,), optional
            Signal to noise a pixel; computed from flux and ivar where it is not given.
        noise_scale, noise_basis : (n, K) and (K, n_pixels), optional
            The correlated part of the noise, ``noise_basis.T @ diag(noise_scale**2) @ noise_basis``, for encoders
            that know what to do with it.

        Returns
        -------
        `~torch.Tensor` (n, embed_dim)
            Not normalised.

        Raises
        ------
        ValueError
            Wrong shapes, or good pixels that hold NaN, Inf or a negative inverse variance: the message gives their
            number and the first row.
        """
        if self.summarizes:
            noise = {"noise_scale": noise_scale, "noise_basis": noise_basis}
            return self.encode_summary(self.summarize(flux, ivar, mask, snr=snr, **noise))
        return self.encode(*self.checked(flux, ivar, mask, snr))

    def checked(self, flux, ivar, mask, snr):
        """Clean tensors and the S/N (n,), computed where it is not given; at least 0.001."""
        flux, ivar, mask = self.clean(flux, ivar, mask)
        snr = signal_to_noise(flux, ivar) if snr is None else as_tensor(snr).to(flux.device)
        if snr.shape != flux.shape[:1] or not bool(torch.isfinite(snr).all()):
            raise ValueError(f"snr: expected {len(flux)} finite numbers, got shape {tuple(snr.shape)} or NaN")
        return flux, ivar, mask, snr.clamp(min=1e-3)

    @property
    def device(self):
        """Where the parameters are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def clean(self, flux, ivar, mask):
        """Tensors on this encoder's device, checked, with 0 under the mask; the input is not modified."""
        device = self.device
        flux, ivar = as_tensor(flux).to(device), as_tensor(ivar).to(device)
        mask = as_tensor(mask, torch.bool).to(device)
        for name, value in {"flux": flux, "ivar": ivar, "mask": mask}.items():
            if value.shape != (len(flux), self.n_pixels):
                raise ValueError(f"{name}: expected shape ({len(flux)}, {self.n_pixels}), got {tuple(value.shape)}")
        flux, ivar = flux.masked_fill(mask, 0), ivar.masked_fill(mask, 0)
        _check_good(flux, torch.isfinite(flux), "flux", "NaN or Inf")
        _check_good(ivar, torch.isfinite(ivar) & (ivar >= 0), "ivar", "NaN, Inf or negative values")
        mask = mask | (ivar == 0)
        return flux.masked_fill(mask, 0), ivar, mask


def positive(name, value):
    """The value, if it is a positive integer; else `ValueError` with its name.

    Examples
    --------
    >>> from specalign.encoders.base import positive
    >>> positive("width", 0)
    Traceback (most recent call last):
    ...
    ValueError: width: expected a positive integer, got 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a positive integer, got {value!r}")
    return value


def _check_good(value, good, name, what):
    if bool(good.all()):
        return
    rows = (~good).any(dim=1).nonzero()[:, 0]
    raise ValueError(
        f"{name}: {int((~good).sum())} unmasked pixels in {len(rows)} rows hold {what}, the first in row "
        f"{int(rows[0])}; mask them, or use prepared spectra"
    )


def as_tensor(value, dtype=torch.float32):
    """A float32 (or boolean) tensor of a tensor or array; big-endian, float64 and read-only arrays are copied.

    Raises
    ------
    TypeError
        Complex numbers, text, or a mask that is not boolean.

    Examples
    --------
    >>> import numpy as np
    >>> from specalign.encoders.base import as_tensor
    >>> as_tensor(np.array([1.5, 2.0], dtype=">f8"))
    tensor([1.5000, 2.0000])
    """
    if isinstance(value, torch.Tensor):
        kind = "b" if value.dtype == torch.bool else "c" if value.is_complex() else "f"
    else:
        value = np.asarray(value)
        kind = value.dtype.kind
    if kind not in ("b" if dtype == torch.bool else "fiu"):
        raise TypeError(f"expected {'booleans' if dtype == torch.bool else 'real numbers'}, got {value.dtype}")
    if isinstance(value, torch.Tensor):
        return value.to(dtype)
    native = np.bool_ if dtype == torch.bool else np.float32
    with np.errstate(over="ignore"):  # what does not fit becomes Inf, which the check of good pixels reports
        array = value.astype(native, copy=not value.flags.writeable)
    return torch.from_numpy(np.ascontiguousarray(array))


def signal_to_noise(flux, ivar):
    """Root mean square S/N (n,) of pixels with ``ivar`` > 0; 0 where a row has none.

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.base import signal_to_noise
    >>> signal_to_noise(torch.tensor([[1.0, 1.0, 5.0]]), torch.tensor([[100.0, 100.0, 0.0]]))
    tensor([10.])
    """
    ratio = (flux * ivar.sqrt()).clamp(-1e6, 1e6)  # beyond any spectrograph, and its square is within float32
    return torch.sqrt((ratio**2).sum(dim=1) / (ivar > 0).sum(dim=1).clamp(min=1))


def check_encoder(encoder, name):
    """Check the contract of an encoder that a plugin built.

    Raises
    ------
    PluginError
        Names the clause that failed.

    Examples
    --------
    >>> from specalign.encoders import check_encoder, get_encoder
    >>> check_encoder(get_encoder("mlp", n_pixels=100), "mlp")
    """
    if not isinstance(encoder, Encoder):
        raise PluginError(f"the encoder plugin {name!r} gives a {type(encoder).__name__}, expected an Encoder")
    check_config(encoder, name, ("n_pixels", "embed_dim"))
    check_buffers(encoder, name)
    check_output(encoder, name)


def check_config(module, name, needed=()):
    """Check that ``config`` gives JSON-like keywords, the needed ones among them.

    Raises
    ------
    PluginError
        Says what it gives.

    Examples
    --------
    >>> from specalign.encoders.base import Encoder, check_config
    >>> check_config(Encoder(n_pixels=9), "theirs", needed=("n_pixels",))
    """
    config = module.config()
    if not isinstance(config, dict) or not set(needed) <= set(config):
        what = f"a dict with {' and '.join(needed)}" if needed else "a dict"
        raise PluginError(f"{name!r}: config() must be {what}, got {config!r}")
    if bad := [key for key, value in config.items() if not _is_plain(value)]:
        raise PluginError(f"{name!r}: config() must hold JSON-like values, but {bad[0]!r} is {config[bad[0]]!r}")


def check_buffers(module, name):
    """Check that every buffer is saved.

    Raises
    ------
    PluginError
        Names a buffer that is not.

    Examples
    --------
    >>> from specalign import get_encoder
    >>> from specalign.encoders.base import check_buffers
    >>> check_buffers(get_encoder("mlp", n_pixels=9), "mlp")
    """
    persistent = module.state_dict()
    if lost := [key for key, _ in module.named_buffers() if key not in persistent]:
        raise PluginError(f"{name!r}: the buffer {lost[0]!r} is not persistent, so it would not be saved")


def _is_plain(value):
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))


def check_output(encoder, name):
    """Check that two spectra become two finite vectors of float32.

    Raises
    ------
    PluginError
        Says what came.

    Examples
    --------
    >>> from specalign import get_encoder
    >>> from specalign.encoders.base import check_output
    >>> check_output(get_encoder("mlp", n_pixels=9), "mlp")
    """
    rows = torch.ones(2, encoder.n_pixels)
    training = encoder.training
    with torch.no_grad():
        out = encoder.eval()(rows, rows, torch.zeros_like(rows, dtype=torch.bool))
    encoder.train(training)
    if not isinstance(out, torch.Tensor) or out.shape != (2, encoder.embed_dim) or not bool(out.isfinite().all()):
        shape = tuple(getattr(out, "shape", ()))
        raise PluginError(
            f"{name!r}: forward on 2 spectra must give finite vectors of shape (2, {encoder.embed_dim}), got {shape}"
        )
    if out.dtype != torch.float32:
        raise PluginError(f"{name!r}: forward must give vectors of torch.float32, got {out.dtype}")
