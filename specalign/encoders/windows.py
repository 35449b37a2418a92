"""Windows of pixels: which pixel is in which, and which of them are hidden from an encoder that is to predict them."""

import torch
from torch import nn

__all__ = ["PositionCode", "hidden_windows", "joined", "uncovered", "window_layout"]

TOKENS = 32  # windows of a spectrum, where nothing else is asked for: 64 cost twice as much and predicted no better
LEAST_STRIDE = 8
LONGEST, SHORTEST = 4.0, 1e-3  # periods of the position code in ln(wavelength)
PERIODS = 32


def window_layout(n_pixels, window=None, stride=None):
    """Window and stride in pixels, by default at most 32 windows that hardly overlap and leave no pixel out.

    Raises
    ------
    ValueError
        Only one of the two is given, the window is longer than the spectrum, or the stride leaves pixels between
        windows.

    Examples
    --------
    >>> from specalign.encoders.windows import window_layout
    >>> window_layout(3909), window_layout(1462, 20, 10)
    ((127, 122), (20, 10))
    """
    if (window is None) != (stride is None):
        raise ValueError(f"expected both window and stride, or neither, got window={window!r} and stride={stride!r}")
    if window is None:
        most = max(1, min(TOKENS, n_pixels // LEAST_STRIDE))
        number = min(range(most, most // 2, -1), key=lambda n: round(n_pixels % n / (n_pixels // n), 1))
        stride = n_pixels // number
        return n_pixels - stride * (number - 1), stride
    if not 1 <= stride <= window <= n_pixels:
        raise ValueError(
            f"expected 1 <= stride <= window <= {n_pixels} pixels of the spectrum, got window={window} and "
            f"stride={stride}"
        )
    return window, stride


def hidden_windows(n_rows, n_windows, share, chunks, generator):
    """Windows (n, T) that are hidden: so many chunks of equal length at random places, which may meet.

    One window at least is hidden, and where there are two or more, one is left.

    Examples
    --------
    >>> import torch
    >>> from specalign.encoders.windows import hidden_windows
    >>> hidden = hidden_windows(100, 145, 0.4, 6, torch.Generator().manual_seed(0))
    >>> hidden.shape, 0.25 < float(hidden.float().mean()) < 0.4
    (torch.Size([100, 145]), True)
    """
    chunks = min(chunks, n_windows)
    length = max(1, round(share * n_windows / chunks))
    draws = torch.rand(n_rows, chunks + 1, generator=generator, device=generator.device)
    start = (draws[:, :chunks] * (n_windows - length + 1)).long()
    place = torch.arange(n_windows, device=start.device)
    hidden = ((place >= start[:, :, None]) & (place < start[:, :, None] + length)).any(dim=1)
    spared = (draws[:, chunks] * n_windows).long()[:, None] == place
    return hidden & ~(hidden.all(dim=1, keepdim=True) & spared) if n_windows > 1 else hidden


def _pixels(n_windows, window, stride, device):
    """Which pixel each number of a row of windows is (T * window,)."""
    first = torch.arange(n_windows, device=device) * stride
    return (first[:, None] + torch.arange(window, device=device)).flatten()


def uncovered(shown, window, stride, n_pixels):
    """Pixels (n, P) that are in a window, and in none that is shown (n, T)."""
    pixels = _pixels(shown.shape[1], window, stride, shown.device)
    times = torch.zeros(len(shown), n_pixels, device=shown.device)
    times = times.index_add_(1, pixels, shown.float().repeat_interleave(window, dim=1))
    return (times == 0) & (torch.arange(n_pixels, device=shown.device) <= pixels[-1])


def joined(values, stride, n_pixels):
    """Windows (n, T, window) as pixels (n, P): the mean over the windows of a pixel, 0 where there is none."""
    pixels = _pixels(values.shape[1], values.shape[2], stride, values.device)
    total = values.new_zeros(len(values), n_pixels).index_add(1, pixels, values.flatten(1))
    times = values.new_zeros(n_pixels).index_add(0, pixels, torch.ones_like(pixels, dtype=values.dtype))
    return total / times.clamp(min=1)


class PositionCode(nn.Module):
    """Where a window is on the wavelength axis: waves in ln(wavelength) of amplitude 1, and a linear layer.

    The periods are the same for every grid, from 4 to 0.001 (300 km/s), so that a trained code means the same on
    another one.

    Parameters
    ----------
    width : int
        Of the tokens.
    """

    def __init__(self, width):
        super().__init__()
        steps = torch.linspace(0, 1, PERIODS)
        self.register_buffer("frequency", 2 * torch.pi / (LONGEST * (SHORTEST / LONGEST) ** steps))
        self.linear = nn.Linear(2 * PERIODS, width)

    def forward(self, log_wavelength):
        """Codes (T, width) of the centres of windows (T,)."""
        phase = log_wavelength.double()[:, None] * self.frequency  # 10^4 and more, of which single precision has 0.01
        waves = torch.cat([phase.sin(), phase.cos()], dim=1)
        return self.linear(waves.to(self.linear.weight.dtype))
