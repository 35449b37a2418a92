"""What a trained aligner makes of prepared spectra: vectors, and normal distributions beside them."""

import numpy as np
import torch

from specalign.alignment.inputs import EMBED_ROWS, describe_record, encoder_inputs, plain_record
from specalign.config import limited_threads
from specalign.exceptions import GridMismatchError

__all__ = ["distributions", "embed_rows", "known_name", "scales"]


@torch.no_grad()
def embed_rows(encoder, objective, prepared):
    """All dimensions (N, D) of the vectors of prepared spectra, as the objective divides them."""
    starts = range(0, len(prepared), EMBED_ROWS)
    with limited_threads(torch):
        blocks = [_block(encoder, objective, prepared, i) for i in starts]
    return torch.cat(blocks) if blocks else torch.zeros(0, encoder.embed_dim)


def _block(encoder, objective, prepared, first):
    rows = np.arange(first, min(first + EMBED_ROWS, len(prepared)))
    return objective.unit(encoder(**encoder_inputs(prepared, rows)))


@torch.no_grad()
def distributions(objective, rows):
    """Columns of an `~specalign.EmbeddingTable` with what the objective makes of rows (N, D) beside their vectors."""
    if not objective.latent:
        return {}
    mean, variance = objective.distribution(rows)
    return {"latent_mean": mean.numpy(), "latent_variance": variance.numpy()}


def scales(objective):
    """Scales that the objective has learned, for the provenance of a table: dict of str to float."""
    found = {"logit_scale": float(objective.logit_scale.detach())} if objective.has_scale else {}
    return found | ({"likelihood_scale": float(objective.likelihood_scale.detach())} if objective.latent else {})


def known_name(records, prepared):
    """The name under which an aligner knows the spectra's instrument.

    Parameters
    ----------
    records : dict of str to InstrumentRecord
        Of the spectra that it was trained on.
    prepared : PreparedSpectra

    Raises
    ------
    GridMismatchError
        The spectra have another grid, other options or other mask rules than those of the training, or come from
        another instrument.
    """
    record = prepared.instrument
    if found := [name for name, known in records.items() if plain_record(known) == plain_record(record)]:
        return found[0]
    similar = [f"{name}: {describe_record(known)}" for name, known in records.items() if known.name == record.name]
    if similar:
        raise GridMismatchError(
            f"this aligner was trained on {'; '.join(similar)}, the spectra come from {describe_record(record)}; "
            f"prepare them like those of the training"
        )
    raise GridMismatchError(f"this aligner was trained on {', '.join(records)}, the spectra come from {record.name!r}")
