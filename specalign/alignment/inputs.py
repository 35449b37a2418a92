"""What aligners and regressors share: prepared spectra as an encoder's input, and the record of their origin."""

import dataclasses
import json

import astropy.units as u
import numpy as np
import torch

from specalign.data.loading import read_rows

__all__ = [
    "EMBED_ROWS",
    "SCALER_ROWS",
    "describe_record",
    "encoder_inputs",
    "encoder_source",
    "linear_head",
    "plain_record",
    "scale_input",
    "scaler_rows",
]

SCALER_ROWS = 8192  # faint directions of the spectra need them, and they are few enough to copy
SCALER_VALUES = 2**24  # flux values that are read where spectra are so short that more rows are no more to copy
EMBED_ROWS = 1024  # rows that are embedded at a time


def encoder_inputs(prepared, rows):
    """Some rows as keywords of an encoder, with the correlated part of their noise."""
    inputs = read_rows(prepared, rows)
    if prepared.covariance_factor is not None:
        inputs["noise_basis"] = torch.from_numpy(np.array(prepared.covariance_factor[1], np.float32))
    return inputs


def encoder_source(encoder, prepared):
    """What training reads: the prepared spectra, or the encoder's summaries of all rows, computed once."""
    if not encoder.summarizes:
        return prepared
    blocks = np.array_split(np.arange(len(prepared)), max(1, len(prepared) // EMBED_ROWS))
    parts = [encoder.summarize(**encoder_inputs(prepared, rows)) for rows in blocks]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def scaler_rows(rows, n_pixels, seed):
    """Some of the training rows (n,), drawn at random, in their order: what the input scaling is fitted to."""
    most = max(SCALER_ROWS, SCALER_VALUES // n_pixels)
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]


def scale_input(encoder, prepared, rows, seed):
    """Fit the scaling of the encoder's input to training rows, unless its weights belong to one that it has.

    Raises
    ------
    GridMismatchError
        An encoder that was trained before knows another grid, other options or other mask rules.
    """
    if encoder.origin is not None:
        encoder.origin.check(prepared)
    if not encoder.scaled:
        if prepared.axis_kind == "wavelength":
            encoder.fit_axis(prepared.spectral_axis.to_value(u.AA, u.spectral()))
        encoder.fit_scaler(**encoder_inputs(prepared, scaler_rows(rows, prepared.flux.shape[1], seed)))
        encoder.scaled = True


def linear_head(embed_dim, n_labels, seed):
    """A linear layer from vectors to labels, whose weights follow from the seed."""
    head = torch.nn.Linear(embed_dim, n_labels)
    generator = torch.Generator().manual_seed(seed)
    torch.nn.init.normal_(head.weight, std=embed_dim**-0.5, generator=generator)
    torch.nn.init.zeros_(head.bias)
    return head


def plain_record(record):
    """As it would come back from a file, where a tuple is a list."""
    return json.loads(json.dumps(dataclasses.asdict(record), default=str))


def describe_record(record):
    """Name, grid, mask rules and options, for messages."""
    return (
        f"{record.name} with grid {record.grid_digest[:12]}, mask rules {record.mask_version} and options "
        f"{record.options}"
    )
