"""What preparing a spectrum, and reducing it to factors, leaves of the information that the pixels had.

    python benchmarks/bench_information.py --shared ../shared --seed 11 --instruments gaia_xp nirspec
    python benchmarks/bench_information.py --shared ../shared --seed 11 --instruments apogee --factors 32 64 --given

For stars of the mock survey, the Cramer-Rao bound of each label is computed three times: from the survey's pixels, from
the prepared ones, and from the summary of the default encoder's factors, each with the noise, masks and nuisances that
were drawn.  Printed are the ratios of the root mean square bounds to that of the survey's pixels, which is the least
error of any network behind that step, and the growth of the logarithm of the volume that the six labels are confined
to, which is what retrieval loses.  A network's own loss is on top of it.
"""

import json

import astropy.units as u
import numpy as np
from bench_results import parser_of
from survey_data import MockSurvey

import specalign as sa
from specalign.alignment.inputs import encoder_inputs, scaler_rows
from specalign.encoders import get_encoder

N_STARS = 300  # that the bounds are computed for
FREE_SCALE = 0.05  # prior spread of the scale that a normalisation by noisy pixels leaves free
OWN = 1e-4  # least share of a pixel's variance that is its own


class Tangents:
    """Derivatives of one instrument's prepared spectra by labels and nuisances, and their noise, star by star."""

    def __init__(self, survey, name, given):
        self.survey, self.name, self.given = survey, name, given
        self.train, test = survey.prepare(name, normalized=given)
        self.test = test[np.arange(min(N_STARS, len(test)))]
        self.labels = survey.values[-survey.n_test :][: len(self.test)]
        seen = survey._test_observation(name)
        rows = {key: value if key == "wavelength" else value[: len(self.test)] for key, value in seen.items()}
        self.known = survey.script.covariance(name, self.labels, rows)
        self.derivatives, self.prior = self._derivatives()

    def _prepared(self, clean):
        wavelength = self.survey.script.model(self.name).wavelength
        plugin, options = self.survey.settings[self.name]
        rows = sa.get_instrument(plugin, **options).prepare_arrays(
            clean.astype(float),
            None,
            ~np.isfinite(clean),
            spectral_axis=wavelength * u.AA,
            object_id=np.arange(len(clean)).astype(str),
            normalized=self.given,
        )
        return np.nan_to_num(rows.flux).astype(float)

    def _derivatives(self):
        """(N, P, q) and the prior spread (q,) of labels and nuisances."""
        script, name = self.survey.script, self.name
        clean = script.spectrum(name, self.labels)
        first, columns, prior = self._prepared(clean), [], list(script.PRIOR)
        for i, step in enumerate(script.STEPS):
            shifts = [self.labels + sign * step * np.eye(len(script.STEPS))[i] for sign in (1, -1)]
            up, down = (self._prepared(script.spectrum(name, labels)) for labels in shifts)
            columns.append((up - down) / (2 * step))
        for change, spread in self._nuisances(clean):
            columns.append(self._prepared(change) - first)
            prior.append(spread)
        if not self.given:
            columns.append(first)
            prior.append(FREE_SCALE)
        return np.stack(columns, axis=2), np.array(prior)

    def _nuisances(self, clean):
        """Spectra changed by one unit of a nuisance, and its prior spread in that unit."""
        script = self.survey.script
        if error := script.VELOCITY_ERROR[self.name]:
            wavelength = script.model(self.name).wavelength
            filled = np.where(np.isfinite(clean), clean, 1).astype(np.float32)
            shifted = script._shift(wavelength, filled, np.ones(len(clean)))
            yield np.where(np.isfinite(clean), shifted, np.nan), error
        if self.name == "lamost_lrs":
            for shape in script._calibration(clean.shape[1]):
                yield clean * (1 + 0.01 * shape), script.CALIBRATION_ERROR / 0.01

    def noise(self, n):
        """Total and own variance (P,) of a star's pixels, infinite without information, and the shared part's root."""
        ivar = np.where(self.test.mask[n], 0, self.test.ivar[n]).astype(float)
        total = np.divide(1, ivar, out=np.full(len(ivar), np.inf), where=ivar > 0)
        if self.test.covariance_factor is None:
            return total, np.zeros((1, len(ivar)))
        scale, basis = (np.asarray(part, float) for part in self.test.covariance_factor)
        shared = scale[n][:, None] * basis
        return np.maximum(total - (shared**2).sum(0), OWN * total), shared

    def ratios(self, fisher):
        """Of the bounds to those of the survey's pixels, and the growth of the logarithm of the volume."""
        n = len(self.survey.script.PRIOR)
        covariance = np.linalg.inv(fisher + np.diag(self.prior**-2.0))[:, :n, :n]
        rms = [np.sqrt(np.diagonal(c, axis1=1, axis2=2).mean(0)) for c in (covariance, self.known)]
        volume = 0.5 * (np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(self.known)[1]).mean()
        names = self.survey.script.LABELS
        return dict(zip(names, (rms[0] / rms[1]).round(3).tolist(), strict=True)) | {"log volume": round(volume, 2)}


def weigh(columns, own, shared):
    """The inverse of the noise's covariance times columns (P, q), by the identity of Woodbury."""
    weight = np.divide(1, own, out=np.zeros_like(own), where=np.isfinite(own))
    inner = np.eye(len(shared)) + (shared * weight) @ shared.T
    return weight[:, None] * (columns - shared.T @ np.linalg.solve(inner, (shared * weight) @ columns))


def pixels_fisher(tangents):
    """Fisher matrices (N, q, q) of the prepared pixels."""
    rows = zip(tangents.derivatives, map(tangents.noise, range(len(tangents.test))), strict=True)
    return np.stack([slopes.T @ weigh(slopes, *noise) for slopes, noise in rows])


def factors_fisher(tangents, n_factors, seed):
    """Fisher matrices (N, q, q) of the summaries of factors that are fitted to the training spectra."""
    train = tangents.train
    encoder = get_encoder("mlp", n_pixels=train.flux.shape[1], seed=seed, n_factors=n_factors)
    encoder.fit_scaler(**encoder_inputs(train, scaler_rows(np.arange(len(train)), train.flux.shape[1], seed)))
    model = encoder.factors
    basis, excess, scale = model.basis.double().numpy(), model.excess.double().numpy(), float(model.scale)
    basis = basis[:, basis.any(axis=0)]  # so few spectra may not afford all factors
    out = []
    for slopes, (own, shared) in zip(tangents.derivatives, map(tangents.noise, range(len(tangents.test))), strict=True):
        filters = weigh(basis, own * scale + excess, shared * np.sqrt(scale))
        used = np.where(np.isfinite(own), own, 0)
        scatter = (filters.T * used) @ filters + (filters.T @ shared.T) @ (shared @ filters)
        size = np.sqrt(np.diag(scatter))
        seen = (filters.T @ slopes) / size[:, None]
        inverse = np.linalg.pinv(scatter / np.outer(size, size), rcond=1e-12, hermitian=True)
        out.append(seen.T @ inverse @ seen)
    return np.stack(out)


def main(arguments=None):
    """Parse the command line and print a line a step."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the survey")
    parser.add_argument("--instruments", nargs="+", default=["apogee", "nirspec", "lamost_lrs", "gaia_xp"])
    parser.add_argument("--factors", nargs="+", type=int, default=[64])
    parser.add_argument("--given", action="store_true", help="leave the flux normalised as the survey gives it")
    options = parser.parse_args(arguments)
    survey = MockSurvey(options.shared, options.stars, options.seed, min(2000, options.stars // 5))
    for name in options.instruments:
        tangents = Tangents(survey, name, options.given)
        print(name, "prepared pixels", json.dumps(tangents.ratios(pixels_fisher(tangents))), flush=True)
        for number in options.factors:
            ratios = tangents.ratios(factors_fisher(tangents, number, options.seed))
            print(name, f"{number} factors", json.dumps(ratios), flush=True)
        survey.forget()


if __name__ == "__main__":
    main()
