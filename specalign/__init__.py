"""One shared space for every stellar spectrograph.

Data walks through the package in one direction, and its folders stand in that order:

.. code-block:: text

    files --io--> Spectrum --instruments--> PreparedSpectra --data--> pairs, batches
          --encoders--> vectors --alignment--> EmbeddingTable
          --analysis--> neighbours, labels --plots--> figures, report

``io``           files to `specutils.Spectrum`
``instruments``  spectra to arrays on the instrument's grid; one plugin a file
``mock``         an embedded survey: labels to spectra of every built-in instrument
``data``         prepared spectra: labels, matching, splits, batches, `EmbeddingTable`
``encoders``     arrays to vectors; one plugin a file
``ops``          batched similarity in torch
``alignment``    several encoders into one shared space
``analysis``     look-alikes, labels, metrics
``fetch``        files of public archives, by the names of objects
``prediction``   labels of new spectra with a saved model
``plots``        figures and the report
``testing``      what a plugin promises, as named checks
``cli``          the command line

Beside the folders, ``config.py`` has what a user sets once (`specalign.conf`).

The names below are imported when they are first used.
"""

import importlib
import logging

__version__ = "0.1.dev0"

_PUBLIC = {
    "Aligner": "specalign.alignment",
    "EmbeddingTable": "specalign.data.embeddings",
    "LabelModel": "specalign.analysis.labels",
    "OutlierModel": "specalign.analysis.outliers",
    "PreparedSpectra": "specalign.instruments.prepared",
    "conf": "specalign.config",
    "get_encoder": "specalign.encoders",
    "get_instrument": "specalign.instruments",
    "match": "specalign.data.matching",
    "metrics": "specalign.analysis",
    "predict": "specalign.prediction",
    "pretrain": "specalign.alignment",
    "read_labels": "specalign.data.labels",
    "reconstruct": "specalign.alignment",
}

# Messages of the package go where the user's program sends them, and nowhere by default.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [*sorted(_PUBLIC), "__version__"]


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'specalign' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_PUBLIC])
