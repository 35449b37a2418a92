"""Windows of pixels: layout, what is hidden, and where they are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specalign.encoders.windows import PositionCode, hidden_windows, joined, uncovered, window_layout


@given(n_pixels=st.integers(1, 10000))
def test_the_default_leaves_no_pixel_out(n_pixels):
    window, stride = window_layout(n_pixels)
    count = (n_pixels - window) // stride + 1
    assert (n_pixels - window) % stride == 0
    assert 1 <= count <= 32
    assert count > 16 or n_pixels < 33 * 8
    assert stride <= window < 2 * stride or window == n_pixels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((100, 20, None), "both window and stride, or neither, got window=20 and stride=None"),
        ((100, 101, 10), "1 <= stride <= window <= 100 pixels of the spectrum, got window=101 and stride=10"),
        ((100, 10, 11), "got window=10 and stride=11"),
        ((100, 10, 0), "got window=10 and stride=0"),
    ],
)
def test_windows_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        window_layout(*options)


@given(n_windows=st.integers(1, 200), share=st.floats(0.05, 0.95), chunks=st.integers(1, 9), seed=st.integers(0, 999))
def test_something_is_hidden_and_something_is_left(n_windows, share, chunks, seed):
    hidden = hidden_windows(20, n_windows, share, chunks, torch.Generator().manual_seed(seed))
    assert hidden.any(dim=1).all()
    assert n_windows == 1 or not hidden.all(dim=1).any()


def test_the_published_mask_hides_chunks_of_ten():
    hidden = hidden_windows(2000, 145, 60 / 145, 6, torch.Generator().manual_seed(0)).float()
    edges = (hidden[:, 1:] > hidden[:, :-1]).sum(dim=1) + hidden[:, 0]
    assert edges.max() <= 6
    assert hidden.sum(dim=1).max() <= 60
    assert 0.3 < float(hidden.mean()) < 60 / 145  # chunks meet now and then


def test_a_pixel_is_uncovered_where_no_shown_window_has_it():
    shown = torch.tensor([[True, False, False], [False, False, True]])
    assert uncovered(shown, window=4, stride=2, n_pixels=9).tolist() == [
        [False] * 4 + [True] * 4 + [False],
        [True] * 4 + [False] * 5,
    ]


def test_windows_are_joined_to_the_spectrum_that_they_are_of():
    flux = torch.arange(18.0).reshape(2, 9)
    whole = joined(flux.unfold(1, 4, 2), 2, 9)
    assert torch.equal(whole[:, :8], flux[:, :8])
    assert not whole[:, 8].any()


def test_a_code_tells_neighbouring_pixels_of_a_spectrograph_apart_and_not_grids():
    torch.manual_seed(0)
    code = PositionCode(16)
    fine = code(torch.log(torch.tensor([5000.0, 5010.0, 15000.0])))
    again = code(torch.log(torch.tensor([5000.0])))
    torch.testing.assert_close(fine[:1], again)
    assert (fine[0] - fine[1]).norm() > 0.1
    assert (fine[0] - fine[2]).norm() > 0.1
