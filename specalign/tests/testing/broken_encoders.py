"""An encoder that keeps every promise, and encoders that each break one."""

import copy
import dataclasses
import os

import numpy as np
import torch
from torch import nn

from specalign.encoders import Encoder
from specalign.encoders.base import as_tensor
from specalign.encoders.scaling import PixelScaler
from specalign.encoders.standardized import Reconstruction


class Sound(Encoder):
    """A small perceptron on scaled flux and the logarithm of the inverse variance."""

    def __init__(self, n_pixels, embed_dim=128, width=16):
        super().__init__(n_pixels, embed_dim)
        self.width = width
        self.scaler = PixelScaler(n_pixels)
        self.stem, self.head = nn.Linear(2 * n_pixels, width), nn.Linear(width, embed_dim)

    def config(self):
        return super().config() | {"width": self.width}

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        self.scaler.fit(flux, ivar, mask)

    def features(self, flux, ivar, mask):
        return torch.cat([self.scaler(flux).masked_fill(mask, 0), 0.05 * torch.log1p(ivar)], dim=1)

    def encode(self, flux, ivar, mask, snr):
        return self.head(torch.tanh(self.stem(self.features(flux, ivar, mask))))


class Summarizing(Sound):
    summarizes = True

    @torch.no_grad()
    def summarize(self, flux, ivar, mask, *, snr=None, noise_scale=None, noise_basis=None):
        return {"features": self.features(*self.checked(flux, ivar, mask, snr)[:3])}

    def encode_summary(self, summary):
        return self.head(torch.tanh(self.stem(summary["features"])))

    def add_noise(self, summary, strength, generator):
        noise = torch.randn(summary["features"].shape, generator=generator)
        return {"features": summary["features"] + strength * noise}


class ShortConfig(Sound):
    def config(self):
        return Encoder.config(self)


class LyingConfig(Sound):
    def config(self):
        return super().config() | {"width": self.width - 1}

    def __init__(self, n_pixels, embed_dim=128, width=16):
        super().__init__(n_pixels, embed_dim, width + 2)


class ForgottenBuffer(Sound):
    def __init__(self, n_pixels, embed_dim=128, width=16):
        super().__init__(n_pixels, embed_dim, width)
        self.register_buffer("factor", torch.ones(width), persistent=False)


class ExtraState(Sound):
    def get_extra_state(self):
        return {"anything": "at all"}

    def set_extra_state(self, state):
        pass


class ScalingInAnAttribute(Sound):
    centre = 0.0

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        flux, _, mask = self.clean(flux, ivar, mask)
        self.centre = flux.sum(0) / (~mask).sum(0)

    def features(self, flux, ivar, mask):
        return super().features(flux - self.centre, ivar, mask)


class SharedByCopies(Sound):
    def __deepcopy__(self, memo):
        return self


class DoublePrecision(Sound):
    def forward(self, flux, ivar, mask, **context):
        return super().forward(flux, ivar, mask, **context).double()


class FixedDimension(Sound):
    def __init__(self, n_pixels, embed_dim=128, width=16):
        super().__init__(n_pixels, embed_dim, width)
        self.head = nn.Linear(width, 8)


class Leaking(Sound):
    """Something of the flux at some pixels that should not count gets into the vectors."""

    def where(self, ivar, mask):
        return mask

    def forward(self, flux, ivar, mask, **context):
        out = super().forward(flux, ivar, mask, **context)
        places = self.where(as_tensor(ivar), as_tensor(mask, torch.bool))
        leaked = torch.where(places, as_tensor(flux), 0).nan_to_num().clamp(-1, 1)
        return out + 0.1 * leaked.sum(dim=1, keepdim=True)


class LeakingWithoutInformation(Leaking):
    def where(self, ivar, mask):
        return ~mask & (ivar == 0)


class ScalingOfEverything(Sound):
    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        self.scaler.mean.copy_(as_tensor(flux).nan_to_num().clamp(-9, 9).mean(dim=0))


class ForgivesRubbish(Sound):
    def clean(self, flux, ivar, mask):
        flux, ivar = as_tensor(flux).nan_to_num(0, 0, 0), as_tensor(ivar).nan_to_num(0, 0, 0).clamp(min=0)
        return super().clean(flux, ivar, mask)


class PadsShortRows(Sound):
    def forward(self, flux, ivar, mask, **context):
        rows = [as_tensor(flux), as_tensor(ivar), as_tensor(mask, torch.bool)]
        return super().forward(*(nn.functional.pad(x, (0, self.n_pixels - x.shape[1])) for x in rows), **context)


class KnowsTheBatch(Sound):
    def encode(self, flux, ivar, mask, snr):
        return super().encode(flux, ivar, mask, snr) * (1 + 0.1 * len(flux))


class RefusesNothing(Sound):
    def encode(self, flux, ivar, mask, snr):
        if not len(flux):
            raise ValueError("expected at least one spectrum")
        return super().encode(flux, ivar, mask, snr)


class KnowsThePlace(Sound):
    def encode(self, flux, ivar, mask, snr):
        # what is fully masked keeps its place, so that only the order shows
        return super().encode(flux, ivar, mask, snr) + 0.1 * torch.arange(len(flux))[:, None]


class MovesTheGlobalState(Sound):
    def fit_scaler(self, flux, ivar, mask, **noise):
        torch.rand(())
        super().fit_scaler(flux, ivar, mask, **noise)


class MovesNumpysState(Sound):
    def encode(self, flux, ivar, mask, snr):
        np.random.random()  # noqa: NPY002
        return super().encode(flux, ivar, mask, snr)


class FollowsTheGlobalSeed(Sound):
    def encode(self, flux, ivar, mask, snr):
        return super().encode(flux, ivar, mask, snr) * (1 + 0.1 * (torch.initial_seed() % 7))


class AlwaysDropping(Sound):
    def encode(self, flux, ivar, mask, snr):
        return nn.functional.dropout(super().encode(flux, ivar, mask, snr), 0.5, training=True)


class WritesToItsInput(Sound):
    def forward(self, flux, ivar, mask, **context):
        out = super().forward(flux, ivar, mask, **context)
        if isinstance(flux, torch.Tensor):
            flux += 1
        return out


class NativeOnly(Sound):
    def forward(self, flux, ivar, mask, **context):
        flux = flux if isinstance(flux, torch.Tensor) else torch.from_numpy(flux)
        return super().forward(flux, ivar, mask, **context)


class IgnoresInverseVariance(Sound):
    def features(self, flux, ivar, mask):
        return super().features(flux, (ivar > 0).float(), mask)


class DeniesInverseVariance(Sound):
    uses_ivar = False


class DividesByGoodPixels(Sound):
    def encode(self, flux, ivar, mask, snr):
        return super().encode(flux, ivar, mask, snr) / (~mask).sum(dim=1, keepdim=True)


class NoCorrelatedNoise(Sound):
    def fit_scaler(self, flux, ivar, mask):
        self.scaler.fit(flux, ivar, mask)


class OtherSummary(Summarizing):
    def encode_summary(self, summary):
        return super().encode_summary(summary) * (1 + 0.1 * len(summary["features"]))

    def forward(self, flux, ivar, mask, *, snr=None, noise_scale=None, noise_basis=None):
        return Summarizing.encode_summary(self, self.summarize(flux, ivar, mask, snr=snr))


class WritesToItsSummary(Summarizing):
    def add_noise(self, summary, strength, generator):
        noise = torch.randn(summary["features"].shape, generator=generator)
        return {"features": summary["features"].add_(strength * noise)}


class AddsNoNoise(Summarizing):
    def add_noise(self, summary, strength, generator):
        return copy.copy(summary)


class UnusedParameter(Sound):
    def __init__(self, n_pixels, embed_dim=128, width=16):
        super().__init__(n_pixels, embed_dim, width)
        self.unused = nn.Parameter(torch.ones(3))


class NoGradient(Sound):
    def encode(self, flux, ivar, mask, snr):
        return self.head(torch.tanh(self.stem(self.features(flux, ivar, mask))).detach())


class NeedsABatch(Sound):
    def __init__(self, n_pixels, embed_dim=128, width=16):
        super().__init__(n_pixels, embed_dim, width)
        self.norm = nn.BatchNorm1d(2 * n_pixels)

    def features(self, flux, ivar, mask):
        return self.norm(super().features(flux, ivar, mask))


class SeesNoFlux(Sound):
    def features(self, flux, ivar, mask):
        return super().features(torch.ones_like(flux), ivar, mask)


class TakesAnything(Sound):
    def __init__(self, n_pixels, embed_dim=128, width=16, **anything):
        super().__init__(n_pixels, embed_dim, width)


class TakesNoPixels(Sound):
    def __init__(self, n_pixels, embed_dim=128, width=16):
        super().__init__(n_pixels or 1, embed_dim, width)


class KnowsTheProcess(Sound):
    def encode(self, flux, ivar, mask, snr):
        return super().encode(flux, ivar, mask, snr) * (1 + os.getpid() / 2**22)


class SpreadByHugeNumbers(Sound):
    """Only where nothing but huge numbers lies under the mask."""

    def fit_scaler(self, flux, ivar, mask, *, noise_scale=None, noise_basis=None):
        super().fit_scaler(flux, ivar, mask)
        mean = as_tensor(flux).double().mean()
        if bool(mean.isfinite() & (mean > 1e20)):
            self.scaler.mean += 1


class SmallValueKnowsTheBatch(Sound):
    """A small value beside a large one."""

    def encode(self, flux, ivar, mask, snr):
        first, second, *others = super().encode(flux, ivar, mask, snr).T
        return torch.stack([first + 20, second * (1 + 1e-3 * len(flux)), *others], dim=1)


class WritesToArrays(Sound):
    """After what it gives was made, and only where nobody forbids it."""

    def fit_scaler(self, flux, ivar, mask, **noise):
        super().fit_scaler(flux, ivar, mask, **noise)
        if isinstance(flux, np.ndarray) and flux.flags.writeable:
            flux[mask] = 1


class OneDirection(Sound):
    def forward(self, flux, ivar, mask, **context):
        if isinstance(flux, np.ndarray) and flux.dtype == np.float32:
            flux = torch.from_numpy(flux)  # takes no negative strides
        return super().forward(flux, ivar, mask, **context)


class OwnSeed(Sound):
    def __init__(self, n_pixels, embed_dim=128, width=16):
        torch.manual_seed(0)
        super().__init__(n_pixels, embed_dim, width)


class NoiseOfNumpy(Sound):
    def encode(self, flux, ivar, mask, snr):
        if self.training:
            flux = flux + 0.01 * torch.from_numpy(np.random.normal(size=flux.shape)).float()  # noqa: NPY002
        return super().encode(flux, ivar, mask, snr)


class MeanOfNothing(Sound):
    """A row without good pixels gets a vector of zeros, and the gradient of the branch that was not taken."""

    def encode(self, flux, ivar, mask, snr):
        out, number = super().encode(flux, ivar, mask, snr), (~mask).sum(dim=1, keepdim=True)
        return torch.where(number > 0, out + out / number, 0)


class Reconstructing(Sound):
    """Sound, and gives back every pixel."""

    reconstructs = True

    def __init__(self, n_pixels, embed_dim=128, width=16):
        super().__init__(n_pixels, embed_dim, width)
        self.decoder = nn.Linear(width, n_pixels)

    def reconstruct(self, flux, ivar, mask, *, snr=None, generator):
        flux, ivar, mask, _ = self.checked(flux, ivar, mask, snr)
        values = self.decoder(torch.tanh(self.stem(self.features(flux, ivar, mask))))
        scale = self.scaler.std.expand_as(values)
        return Reconstruction(self.scaler.mean + scale * values, scale, torch.ones_like(mask))


class ReconstructsWhatIsHidden(Reconstructing):
    def reconstruct(self, flux, ivar, mask, *, snr=None, generator):
        found = super().reconstruct(flux, ivar, mask, snr=snr, generator=generator)
        return dataclasses.replace(found, flux=found.flux + as_tensor(flux).nan_to_num(9.0))


class ReconstructsAtRandom(Reconstructing):
    def reconstruct(self, flux, ivar, mask, *, snr=None, generator):
        found = super().reconstruct(flux, ivar, mask, snr=snr, generator=generator)
        return dataclasses.replace(found, flux=found.flux + torch.randn(found.flux.shape))


class PredictsNothing(Reconstructing):
    def reconstruct(self, flux, ivar, mask, *, snr=None, generator):
        found = super().reconstruct(flux, ivar, mask, snr=snr, generator=generator)
        return dataclasses.replace(found, counted=torch.zeros_like(found.counted))


# Every check that a class fails, and no other.
BROKEN = {
    ReconstructsWhatIsHidden: {"reconstruction_is_flux"},
    ReconstructsAtRandom: {"reconstruction_is_flux"},
    PredictsNothing: {"reconstruction_is_flux"},
    ShortConfig: {"config_rebuilds"},
    LyingConfig: {"config_rebuilds", "state_is_saved", "scaling_is_part_of_the_state"},
    ForgottenBuffer: {"state_is_saved"},
    ExtraState: {"state_is_saved", "scaling_is_part_of_the_state"},
    ScalingInAnAttribute: {"scaling_is_part_of_the_state"},
    SharedByCopies: {"copies_are_equal"},
    DoublePrecision: {"output_is_float32_vectors"},
    FixedDimension: {"output_is_float32_vectors"},
    Leaking: {"masked_pixels_never_matter"},
    LeakingWithoutInformation: {"pixels_without_information_never_matter"},
    ScalingOfEverything: {"masked_pixels_never_matter_to_the_scaling"},
    ForgivesRubbish: {"rubbish_on_good_pixels_is_refused"},
    PadsShortRows: {"wrong_shapes_are_refused"},
    KnowsTheBatch: {"batch_equals_loop"},
    RefusesNothing: {"empty_batch_is_empty"},
    KnowsThePlace: {"batch_equals_loop", "order_of_rows_is_kept"},
    MovesTheGlobalState: {"is_deterministic"},
    MovesNumpysState: {"is_deterministic"},
    FollowsTheGlobalSeed: {"eval_mode_has_no_randomness"},
    WritesToItsInput: {"input_is_untouched"},
    NativeOnly: {"arrays_of_any_type_are_taken"},
    IgnoresInverseVariance: {"inverse_variance_matters_or_is_declared_unused"},
    DeniesInverseVariance: {"inverse_variance_matters_or_is_declared_unused"},
    DividesByGoodPixels: {"wholly_masked_rows_are_finite"},
    NoCorrelatedNoise: {"correlated_noise_is_taken"},
    OtherSummary: {"summary_equals_forward"},
    WritesToItsSummary: {"summary_equals_forward"},
    AddsNoNoise: {"summary_equals_forward"},
    UnusedParameter: {"gradients_reach_every_parameter"},
    NoGradient: {"gradients_reach_every_parameter"},
    NeedsABatch: {"single_row_can_train"},
    SpreadByHugeNumbers: {"masked_pixels_never_matter_to_the_scaling"},
    SmallValueKnowsTheBatch: {"batch_equals_loop"},
    WritesToArrays: {"input_is_untouched"},
    OneDirection: {"arrays_of_any_type_are_taken"},
    OwnSeed: {"is_deterministic"},
    NoiseOfNumpy: {"is_deterministic"},
    MeanOfNothing: {"wholly_masked_rows_are_finite"},
    TakesAnything: {"unknown_options_are_refused"},
    TakesNoPixels: {"unknown_options_are_refused"},
}
