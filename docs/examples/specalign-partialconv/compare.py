"""Print the table of the page: recall@1 of two encoders on mock surveys, over seeds.

python compare.py SEEDS, with specalign-partialconv installed.
"""

import sys
import tempfile
import warnings

import numpy as np

import specalign
from specalign.exceptions import SpecalignWarning
from specalign.mock import write_survey

PAIR = ("gaia_xp", "lamost")


def survey(n, seed, snr):
    """Prepared spectra of a mock survey by instrument."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_survey(folder, n, instruments=PAIR, seed=seed, snr=snr)
        instruments = {name: specalign.get_instrument(name) for name in PAIR}
        return {
            name: one.prepare([spectrum for path in paths[name] for spectrum in one.read(path)])
            for name, one in instruments.items()
        }


def recall(encoder, snr, seed):
    """Share of 300 other stars whose LAMOST spectrum finds their XP spectrum first."""
    aligner = specalign.Aligner(dict.fromkeys(PAIR, encoder), embed_dim=64)
    aligner.fit(survey(400, seed, snr), max_epochs=15, batch_size=64, progress=False, accelerator="cpu", seed=seed)
    gallery, queries = (aligner.embed(spectra) for spectra in survey(300, 1000 + seed, snr).values())
    return specalign.metrics.retrieval(queries, gallery)["recall@1"]


if __name__ == "__main__":
    warnings.simplefilter("ignore", SpecalignWarning)
    for encoder in ("partialconv", "mlp"):
        for snr in (None, 8.0):
            values = [recall(encoder, snr, seed) for seed in range(int(sys.argv[1]))]
            print(f"{encoder}, S/N {snr or 'as usual'}: {np.mean(values):.2f} +- {np.std(values):.2f}", flush=True)
