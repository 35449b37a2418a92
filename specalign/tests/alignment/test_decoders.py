"""Decoders by themselves: the evidence against the normal distribution of all pixels, and what noise leaves."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from specalign.alignment import get_objective
from specalign.alignment.augment import add_noise
from specalign.alignment.decoders import FactorDecoder, Likelihood, log_evidence
from specalign.encoders.factors import FactorAnalysis
from specalign.testing import parametrize_objective

N, P, K, SHARED = 3, 7, 2, 2
NAMES = ("clip", "clip+reconstruct", "clip+predict", "clip+both", "split")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def model():
    factors, draw = FactorAnalysis(P, K), generator(1)
    factors.mean.copy_(1 + 0.1 * torch.randn(P, generator=draw))
    factors.basis.copy_(0.3 * torch.randn(P, K, generator=draw))
    factors.excess.fill_(1e-3)
    return factors


def spectra(correlated=False, n=N):
    draw = generator(2)
    rows = {"flux": 1 + 0.4 * torch.randn(n, P, generator=draw), "ivar": torch.full((n, P), 40.0)}
    rows["mask"] = torch.zeros(n, P, dtype=torch.bool)
    rows["mask"][0, 3], rows["ivar"][0, 3] = True, 0
    if correlated:
        rows["noise_scale"], rows["noise_basis"] = torch.full((n, SHARED), 0.05), torch.randn(SHARED, P, generator=draw)
        total = 1 / 40 + rows["noise_scale"][0] ** 2 @ rows["noise_basis"] ** 2
        rows["ivar"] = torch.where(rows["mask"], 0.0, 1 / total)
    return rows


def pixel_log_probability(factors, rows, mean, variance, row):
    good = ~rows["mask"][row]
    own = 1 / rows["ivar"][row, good]
    noise = torch.zeros(int(good.sum()), int(good.sum()))
    if "noise_scale" in rows:
        basis = rows["noise_basis"][:, good]
        noise = (basis.T * rows["noise_scale"][row] ** 2) @ basis
        own = own - noise.diagonal()
    basis = factors.basis[good]
    covariance = noise + torch.diag(own + factors.excess[good]) + (basis * variance[row]) @ basis.T
    centre = factors.mean[good] + basis @ mean[row]
    return MultivariateNormal(centre.double(), covariance.double()).log_prob(rows["flux"][row, good].double())


@pytest.mark.parametrize("correlated", [False, True])
def test_evidence_is_that_of_all_pixels(correlated):
    factors, rows = model(), spectra(correlated)
    likelihood = Likelihood.of(factors.summarize(**rows))
    guesses = [
        (torch.randn(N, K, generator=generator(s)), torch.rand(N, K, generator=generator(9 + s))) for s in (3, 4)
    ]
    found = [log_evidence(mean, variance.log(), likelihood) for mean, variance in guesses]
    for row in range(N):
        expected = [pixel_log_probability(factors, rows, *guess, row) for guess in guesses]
        assert float(found[0][row] - found[1][row]) == pytest.approx(float(expected[0] - expected[1]), rel=1e-3)


def test_derivatives_of_the_evidence_are_those_of_its_values():
    likelihood = Likelihood.of(model().summarize(**spectra()))
    guess = [torch.randn(N, K, generator=generator(s), dtype=torch.float64, requires_grad=True) for s in (3, 4)]
    assert torch.autograd.gradcheck(lambda mean, log_variance: log_evidence(mean, log_variance, likelihood), guess)


@pytest.mark.parametrize("correlated", [False, True])
def test_what_added_noise_hides_is_the_rest_of_the_information(correlated):
    """Of x and x + a e, what is left is the information of x - e / a, whose noise is independent."""
    factors, rows = model(), spectra(correlated)
    factors.excess.zero_()
    basis = rows.pop("noise_basis", None)
    noisy = add_noise(rows, 1.5, generator(5), basis)
    square = torch.where(rows["mask"], 1, rows["ivar"] / noisy["ivar"] - 1)
    rest = rows | {
        "flux": rows["flux"] - (noisy["flux"] - rows["flux"]) / square,
        "ivar": rows["ivar"] / (1 + 1 / square),
    }
    if correlated:
        rest["noise_scale"] = rows["noise_scale"] * (1 + 1 / square[:, :1]).sqrt()
    extra = {} if basis is None else {"noise_basis": basis}
    whole, seen, expected = (Likelihood.of(factors.summarize(**r, **extra)) for r in (rows, noisy, rest))
    left = whole.without(seen)
    torch.testing.assert_close(left.precision, expected.precision, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(left.information, expected.information, rtol=2e-3, atol=2e-3)


def test_a_new_decoder_gives_the_population():
    factors, rows = model(), spectra()
    decoder = FactorDecoder(P, 5, ["a", "b"], n_factors=K, width=8, depth=1)
    decoder.factors.load_state_dict(factors.state_dict())
    vectors = torch.randn(N, 5, generator=generator())
    assert decoder.error(vectors, "b", Likelihood.of(factors.summarize(**rows))).abs().max() < 1e-6
    found = decoder.spectra(vectors, "a")
    torch.testing.assert_close(found["flux"], factors.mean.expand(N, P))
    covariance = factors.basis @ factors.basis.T
    torch.testing.assert_close(found["variance"], (covariance.diagonal() + factors.excess).expand(N, P))


def test_calibration_scales_the_variance_of_one_source():
    decoder = FactorDecoder(P, 5, ["a", "b"], n_factors=K, width=8, depth=1)
    decoder.factors.load_state_dict(model().state_dict())
    vectors = torch.randn(N, 5, generator=generator())
    before = [decoder.spectra(vectors, name)["factor_scale"] for name in "ab"]
    decoder.calibration[1] = 2.0
    after = [decoder.spectra(vectors, name)["factor_scale"] for name in "ab"]
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1], before[1] * torch.e)


@parametrize_objective("clip+both")
def test_contract_of_clip_both(check):
    check()


@parametrize_objective("split", marks={"aligner_learns": pytest.mark.slow})
def test_contract_of_split(check):
    check()


class Told:
    """Stands for decoders: remembers what it was asked."""

    def __init__(self):
        self.asked = {}

    def own(self, name):
        return torch.tensor([0.25])

    def other(self, target, source, vectors, rows):
        self.asked[target, source] = vectors, rows
        return (vectors**2).sum(dim=1)


def batch(private=0):
    vectors = {name: torch.randn(n, 8, generator=generator(n)) for name, n in (("a", 3), ("b", 4), ("c", 1))}
    return vectors, {"a": torch.tensor([5, 6, 7]), "b": torch.tensor([7, 5, 5, 9]), "c": torch.tensor([4])}


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_those_of_the_name(name):
    objective = get_objective(name, **({"private": 0.375} if name == "split" else {}))
    terms = objective.terms(*batch(), Told())
    assert list(terms) == list(objective.weights)
    wanted = {"reconstruct": name in NAMES[1::2] or name == "split", "predict": name in NAMES[2:]}
    assert {key: key in terms for key in wanted} == wanted
    assert all(term.shape == () and bool(term.isfinite()) for term in terms.values())


def test_rows_are_told_by_rows_of_the_same_star_alone():
    told, (vectors, stars) = Told(), batch()
    get_objective("clip+predict").terms(vectors, stars, told)
    assert set(told.asked) == {("b", "a"), ("a", "b")}
    for (target, source), (given, rows) in told.asked.items():
        assert len(rows) == 3
        own = [int((vectors[source] == row).all(dim=1).nonzero()) for row in given]
        assert stars[source][own].tolist() == stars[target][rows].tolist()


def test_contrast_and_prediction_do_not_see_private_dimensions():
    objective, (vectors, stars) = get_objective("split", private=0.375), batch()
    before, changed = objective.terms(vectors, stars, Told()), {n: v.clone() for n, v in vectors.items()}
    for value in changed.values():
        value[:, 5:] = 9.0
    after = objective.terms(changed, stars, Told())
    assert {k: float(v.detach()) for k, v in after.items()} == {k: float(v.detach()) for k, v in before.items()}
    changed["a"][:, 0] = 9.0
    assert float(objective.terms(changed, stars, Told())["predict"]) != float(before["predict"])


def test_shared_and_private_parts_have_unit_length_each():
    raw = torch.randn(4, 8, generator=generator())
    unit = get_objective("split", private=0.375).unit(raw)
    torch.testing.assert_close(unit[:, :5].norm(dim=1), torch.ones(4))
    torch.testing.assert_close(unit[:, 5:].norm(dim=1), torch.ones(4))
    torch.testing.assert_close(get_objective("clip+both").unit(raw).norm(dim=1), torch.ones(4))


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("clip+reconstruct", {"reconstruct": -1}, "reconstruct: expected a finite weight"),
        ("clip+predict", {"predict": float("nan")}, "predict: expected a finite weight"),
        ("clip+both", {"predict": True}, "predict: expected a finite weight"),
        ("split", {"private": 0.0}, "private: expected a share between 0 and 1"),
        ("split", {"private": 8}, "private: expected a share between 0 and 1"),
    ],
)
def test_wrong_options_are_named(name, options, match):
    with pytest.raises(ValueError, match=match):
        get_objective(name, **options)
