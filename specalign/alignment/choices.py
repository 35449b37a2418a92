"""What an aligner is asked to do, checked before anything is computed."""

import itertools
import re

from specalign.alignment.inputs import plain_record
from specalign.alignment.objectives import Objective, get_objective
from specalign.encoders import Encoder
from specalign.encoders.factors import FactorAnalysis
from specalign.exceptions import GridMismatchError

__all__ = [
    "begins_with_factors",
    "check_encoder_choice",
    "check_fit_options",
    "check_objective_choice",
    "check_reconstruction",
    "check_spectra",
]

KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def check_encoder_choice(name, encoder, embed_dim):
    """Raise `ValueError` unless an instrument's name and its encoder, or the encoder's plugin, can be used."""
    if not isinstance(name, str) or not KEY.fullmatch(name):
        raise ValueError(f"expected names of instruments (letters, digits, '-' and '_'), got {name!r}")
    if not isinstance(encoder, (str, Encoder)):
        raise ValueError(f"{name}: expected an Encoder or the name of one, got {type(encoder).__name__}")
    if isinstance(encoder, Encoder) and encoder.embed_dim != embed_dim:
        raise ValueError(f"{name}: the encoder gives {encoder.embed_dim} dimensions, the space has {embed_dim}")


def check_objective_choice(objective, embed_dim):
    """Raise an error unless it is an objective or an installed one's name, and leaves dimensions to share."""
    if not isinstance(objective, (str, Objective)):
        raise ValueError(f"objective: expected an Objective or the name of one, got {type(objective).__name__}")
    built = get_objective(objective) if isinstance(objective, str) else objective
    shared = built.n_shared(embed_dim)
    if shared < 1 or (built.private and shared == embed_dim):
        raise ValueError(
            f"objective: a share of {built.private:g} private dimensions and {built.n_latent(embed_dim)} means and "
            f"variances leave {shared} of {embed_dim} to share; choose another share, a larger embed_dim, or "
            f"objective='clip'"
        )


def check_spectra(instruments, prepared):
    """Raise an error unless the spectra are those of the instruments, each of one setting."""
    if set(prepared) != set(instruments):
        raise ValueError(f"expected spectra of {', '.join(instruments)}, got {', '.join(prepared) or 'none'}")
    for name, rows in prepared.items():
        if not re.fullmatch(rf"{re.escape(rows.instrument.name)}([-_].*)?", name):
            raise GridMismatchError(f"expected spectra of {name}, got those of {rows.instrument.name}")
    for a, b in itertools.combinations(prepared, 2):
        if plain_record(prepared[a].instrument) == plain_record(prepared[b].instrument):
            raise GridMismatchError(
                f"{a} and {b} are spectra of one instrument with one grid, options and mask rules: embed could not "
                f"tell whose encoder a spectrum needs; give all of them under one name, with "
                f"PreparedSpectra.concatenate"
            )


def check_fit_options(supervision, validation, labels, devices):
    """Raise `ValueError` unless options of `specalign.Aligner.fit` go together."""
    if supervision not in ("joint", "pretrain") or (supervision == "pretrain" and labels is None):
        raise ValueError(f"supervision: expected 'joint', or 'pretrain' with labels, got {supervision!r}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation: expected a share from 0 to below 1, got {validation}")
    if devices not in ("auto", 1, "1", [0]):
        raise ValueError(f"devices: training runs on one device; expected 'auto' or 1, got {devices!r}")


def begins_with_factors(encoder):
    """Whether an encoder reduces spectra to factors, of which a decoder can be made."""
    return encoder.summarizes and isinstance(getattr(encoder, "factors", None), FactorAnalysis)


def check_reconstruction(objective, encoders, noise):
    """Raise `ValueError` where an objective would reconstruct what an encoder has wholly seen, its noise included."""
    if not objective.reconstruct:
        return
    if noise == 0:
        raise ValueError(
            "noise: expected a number above 0, got 0: reconstruction is learned on what added noise hides from the "
            "encoder; use objective='clip+predict', which needs none"
        )
    for name, encoder in encoders.items():
        if encoder.summarizes and not begins_with_factors(encoder):
            raise ValueError(
                f"{name}: {type(encoder).__name__} summarizes spectra without factors, so that nobody knows what of a "
                f"spectrum it did not see; use objective='clip+predict', or another encoder"
            )
