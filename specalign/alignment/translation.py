"""From one instrument's vectors to another's spectra: decoders built, fed in training, calibrated, and asked."""

import astropy.units as u
import numpy as np
import torch
from astropy.table import QTable

from specalign.alignment.choices import begins_with_factors
from specalign.alignment.decoders import FactorDecoder, Likelihood
from specalign.alignment.inputs import encoder_source, scale_input
from specalign.data.loading import read_rows
from specalign.encoders.mlp import ResidualMLP
from specalign.instruments.prepared import PreparedSpectra
from specalign.io.quality import COMMON_BITS, bit_value

__all__ = ["Decoding", "build_decoders", "calibrate", "translated"]

#: Logarithms of factors that the variances are tried with on validation stars.
CALIBRATIONS = tuple(np.linspace(-2, 5, 29).tolist())


def build_decoders(objective, encoders, prepared, index, training, sources, seed):
    """A decoder for each instrument, fitted to training rows but not trained, and what it is to predict.

    Parameters
    ----------
    objective : Objective
    encoders : dict of str to Encoder
        With their input scaled.
    prepared : dict of str to PreparedSpectra
    index : StarIndex
    training : (S,) int
    sources : dict
        What the encoders read.
    seed : int

    Returns
    -------
    decoders : dict of str to FactorDecoder
    targets : dict of str to dict of str to `~torch.Tensor`
        The likelihood of the factors of all rows.
    """
    decoders, targets = {}, {}
    for number, (name, rows) in enumerate(prepared.items() if objective.decodes else ()):
        stage = _stage(encoders[name], rows, index.rows(name, training)[0], seed)
        targets[name] = sources[name] if stage is encoders[name] else encoder_source(stage, rows)
        known = [other for other in prepared if (objective.reconstruct if other == name else objective.predict)]
        decoders[name] = _decoder(stage.factors, rows, encoders[name].embed_dim, known, seed + number)
    return decoders, targets


def _stage(encoder, prepared, rows, seed):
    """What reduces spectra to factors: the encoder, where it begins so."""
    if begins_with_factors(encoder):
        return encoder
    stage = ResidualMLP(prepared.flux.shape[1], embed_dim=1, width=1, depth=1)
    scale_input(stage, prepared, rows, seed)
    return stage


def _decoder(factors, prepared, embed_dim, sources, seed):
    axis, kind = prepared.spectral_axis, prepared.axis_kind
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        decoder = FactorDecoder(
            len(axis), embed_dim, sources, kind, u.Quantity(axis).unit.to_string(), n_factors=factors.n_factors
        )
    decoder.factors.load_state_dict(factors.state_dict())
    decoder.axis.copy_(torch.from_numpy(np.array(axis.value, np.float64)))
    if prepared.lsf_sigma is not None:
        sigma = prepared.lsf_sigma.to_value(axis.unit)
        decoder.lsf_sigma.copy_(torch.from_numpy(np.array(np.median(np.atleast_2d(sigma), axis=0), np.float32)))
    return decoder


class Decoding:
    """The decoders on one batch.

    Parameters
    ----------
    decoders : mapping of str to FactorDecoder
    targets : dict of str to dict of str to `~torch.Tensor`
        The likelihood of the factors of all rows.
    batch : dict of str to dict
        As `~specalign.data.loading.StarLoader` gives it.
    seen : dict of str to dict
        The same with noise on top, as encoders saw it; with ``noise_basis`` where the noise is correlated.
    own_vectors : dict of str to (n, D) `~torch.Tensor`
        What they made of that.
    extra : float
        Added to the logarithm of every variance.
    """

    def __init__(self, decoders, targets, batch, seen=None, own_vectors=None, extra=0.0):
        self.decoders, self.batch, self.seen, self.own_vectors, self.extra = decoders, batch, seen, own_vectors, extra
        self.whole = {name: _likelihood(targets[name], rows["rows"]) for name, rows in batch.items()}

    def other(self, target, source, vectors, rows):
        """How badly vectors (n, D) of one instrument tell rows (n,) of another's part of the batch: (n,), in nats."""
        return self.decoders[target].error(vectors, source, self.whole[target][rows], self.extra)

    def own(self, name):
        """How badly vectors tell what the encoder did not see of their rows: (n,), in nats."""
        left = self.whole[name].without(self._seen(name))
        return self.decoders[name].error(self.own_vectors[name], name, left, self.extra)

    def _seen(self, name):
        rows = self.seen[name]
        if "projection" not in rows:
            wanted = ("flux", "ivar", "mask", "noise_scale", "noise_basis")
            rows = self.decoders[name].factors.summarize(**{key: rows[key] for key in wanted if key in rows})
        return Likelihood.of(rows)


def _likelihood(target, rows):
    summary = read_rows(target, rows.cpu().numpy())
    return Likelihood.of({name: summary[name].to(rows.device) for name in ("rotation", "precision", "projection")})


@torch.no_grad()
def calibrate(decoders, objective, decodings):
    """Scale the variances of each decoder, a source each, so that validation stars are as likely as can be.

    Parameters
    ----------
    decoders : mapping of str to FactorDecoder
    objective : Objective
    decodings : iterable of (dict, dict, Decoding)
        Vectors, stars and decoders of batches of validation stars; where there are none, the variances stay as they
        are.
    """
    sums = {(t, s): np.zeros(len(CALIBRATIONS)) for t, decoder in decoders.items() for s in decoder.sources}
    for vectors, stars, decoding in decodings:
        for number, decoding.extra in enumerate(CALIBRATIONS):
            for key, errors in objective.decoded(vectors, stars, decoding).items():
                sums[key][number] += float(errors.sum())
    for (target, source), total in sums.items():
        best = CALIBRATIONS[int(total.argmin())] if total.any() else 0.0
        decoders[target].calibration[decoders[target].sources.index(source)] = best


def translated(decoder, vectors, source, prepared, record):
    """Spectra that the vectors of some rows tell, as prepared spectra of the decoder's instrument.

    Parameters
    ----------
    decoder : FactorDecoder
    vectors : (N, D) `~torch.Tensor`
    source : str
        The instrument of which the vectors are.
    prepared : PreparedSpectra
        The rows of which they are.
    record : InstrumentRecord
        Of the decoder's instrument.

    Returns
    -------
    PreparedSpectra
    """
    found = {name: value.numpy() for name, value in decoder.spectra(vectors, source).items()}
    unseen = np.broadcast_to(~decoder.seen.numpy(), found["flux"].shape)
    n, unit = len(vectors), u.Unit(decoder.axis_unit)
    return PreparedSpectra(
        flux=np.where(unseen, 0, found["flux"]),
        ivar=np.where(unseen, 0, 1 / np.maximum(found["variance"], 1e-30)),
        mask=unseen,
        quality=np.where(unseen, bit_value(COMMON_BITS, "UNCOVERED"), np.uint32(0)),
        norm=np.ones((n, 1)),
        object_id=prepared.object_id,
        spectrum_id=prepared.spectrum_id,
        spectral_axis=decoder.axis.numpy() * unit,
        instrument=record,
        catalog=QTable({"snr": prepared.snr, "translated_from": np.full(n, source)}),
        quality_bits=dict(COMMON_BITS),
        lsf_sigma=decoder.lsf_sigma.numpy() * unit if bool(decoder.lsf_sigma.any()) else None,
        axis_kind=decoder.axis_kind,
        covariance_factor=(found["factor_scale"], decoder.factors.basis.numpy().T),
    )
