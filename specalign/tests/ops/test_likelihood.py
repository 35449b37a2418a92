"""The likelihood of normal distributions: closed forms, gradients, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from specalign.ops import info_nce, mutual_likelihood, mutual_likelihood_nce


def normals(n, k=3, seed=0, dtype=torch.float64):
    rng = np.random.default_rng([n, k, seed])
    mean, variance = rng.normal(size=(n, k)), rng.uniform(0.1, 2, (n, k))
    return tuple(torch.from_numpy(values).to(dtype) for values in (mean, variance))


MEAN, VARIANCE = normals(3)


def test_agrees_with_the_integral_of_the_product():
    (m, v), (n, w) = normals(4), normals(5, seed=1)
    scale = np.sqrt((v[:, None] + w).numpy())
    expected = stats.norm.logpdf((m[:, None] - n).numpy(), scale=scale).sum(axis=2)
    np.testing.assert_allclose(mutual_likelihood(m, v, n, w).numpy(), expected, rtol=1e-12)
    z = np.linspace(-12, 12, 4001)
    one = [stats.norm.pdf(z, float(a), float(b) ** 0.5) for a, b in ((m[0, 0], v[0, 0]), (n[1, 0], w[1, 0]))]
    found = mutual_likelihood(m[:1, :1], v[:1, :1], n[1:2, :1], w[1:2, :1])
    assert float(found) == pytest.approx(np.log(np.trapezoid(one[0] * one[1], z)), abs=1e-9)


@given(order=st.permutations(range(6)), seed=st.integers(0, 99))
def test_rows_and_dimensions_may_come_in_any_order(order, seed):
    (m, v), (n, w) = normals(6, 6, seed), normals(3, 6, seed + 1)
    whole = mutual_likelihood(m, v, n, w)
    torch.testing.assert_close(mutual_likelihood(m[order], v[order], n, w), whole[order])
    columns = (values[:, order] for values in (m, v, n, w))
    torch.testing.assert_close(mutual_likelihood(*columns), whole)
    torch.testing.assert_close(mutual_likelihood(n, w, m, v), whole.T)


def test_candidates_are_elements_of_the_matrix():
    (m, v), (n, w) = normals(4), normals(9, seed=1)
    rows = torch.tensor([[0, 8], [3, 3], [7, 1], [2, 0]])
    whole = mutual_likelihood(m, v, n, w)
    torch.testing.assert_close(mutual_likelihood(m, v, n[rows], w[rows]), whole.gather(1, rows))


def test_equal_variances_leave_the_contrast_of_products():
    x, y = (torch.nn.functional.normalize(normals(7, 4, seed)[0], dim=1) for seed in (0, 1))
    star = torch.tensor([0, 0, 1, 2, 3, 4, 5])
    half = torch.full_like(x, 0.5)
    found = mutual_likelihood_nce(x, half, y, half, star, star)
    torch.testing.assert_close(found, info_nce(x, y, 1.0, star, star, backend="reference"))
    torch.testing.assert_close(mutual_likelihood_nce(x, half, y, half), info_nce(x, y, 1.0, backend="reference"))


def test_logits_are_added_to_the_likelihood():
    x, y = (torch.nn.functional.normalize(normals(7, 4, seed)[0], dim=1) for seed in (0, 1))
    star, same = torch.tensor([0, 0, 1, 2, 3, 4, 5]), torch.full((7, 1), 0.5, dtype=torch.float64)
    found = mutual_likelihood_nce(0 * same, same, 0 * same, same, star, star, logits=8 * x @ y.T)
    torch.testing.assert_close(found, info_nce(x, y, 8.0, star, star, backend="reference"))
    half = mutual_likelihood_nce(0 * same, same, 0 * same, same, star, star, logits=(8 * x @ y.T).half())
    torch.testing.assert_close(half, found, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("logits", "error", "match"),
    [
        (torch.zeros(3, 2), ValueError, r"logits: expected shape \(3, 3\), got \(3, 2\)"),
        (
            torch.zeros(3, 3, dtype=torch.int64),
            TypeError,
            "logits: expected a floating-point .* got torch.int64 on cpu",
        ),
        (np.zeros((3, 3)), TypeError, "logits: expected a floating-point torch.Tensor on cpu, got ndarray"),
    ],
)
def test_logits_that_do_not_fit_are_refused(logits, error, match):
    with pytest.raises(error, match=match):
        mutual_likelihood_nce(MEAN, VARIANCE, MEAN, VARIANCE, logits=logits)


def test_gradients_are_those_of_differences():
    (m, v), (n, w) = normals(3, 2), normals(4, 2, seed=1)
    star = torch.tensor([0, 1, 1]), torch.tensor([1, 0, 2, 5])
    leaves = tuple(values.requires_grad_() for values in (m, v, n, w))
    assert torch.autograd.gradcheck(mutual_likelihood, leaves)
    assert torch.autograd.gradcheck(lambda *rows: mutual_likelihood_nce(*rows, *star), leaves)


def test_half_precision_is_accumulated_in_single():
    single = normals(4, dtype=torch.float16)
    found = mutual_likelihood(*single, *single)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, mutual_likelihood(*(part.float() for part in (*single, *single))))


def test_no_positive_is_no_loss():
    rows = normals(2)
    assert float(mutual_likelihood_nce(*rows, *rows, torch.tensor([0, 1]), torch.tensor([2, 3]))) == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((MEAN, VARIANCE[:2], MEAN, VARIANCE), r"variance_x: expected shape \(3, 3\), got \(2, 3\)"),
        ((MEAN, VARIANCE, MEAN, 0 * VARIANCE), "variance_y: expected positive numbers, got 0.0"),
        ((MEAN, VARIANCE * torch.nan, MEAN, VARIANCE), "variance_x: expected positive numbers, got nan"),
        ((MEAN, VARIANCE, MEAN[:, :2], VARIANCE[:, :2]), "expected as many columns in mean_x as in mean_y"),
        ((MEAN, VARIANCE, MEAN[:2, None], VARIANCE[:2, None]), "mean_y: expected candidates of 3 rows, got those of 2"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        mutual_likelihood(*arguments)


def test_a_loss_of_what_is_not_finite_is_not_finite():
    """A training that diverges names its rows and stops; an error of this op would hide which they are."""
    assert not mutual_likelihood_nce(MEAN * torch.nan, VARIANCE * torch.nan, MEAN, VARIANCE).isfinite()
