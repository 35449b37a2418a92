"""The embedded survey: labels to mock spectra of every built-in instrument, written as real files.

Nothing here is an observation.  Every file says so in its header, and the folder in its README.

>>> from specalign.mock import ELEMENTS
>>> len(ELEMENTS), ELEMENTS[:4]
(18, ('c', 'n', 'o', 'na'))
"""

from specalign.mock.bounds import cramer_rao, gradients, label_covariance, oracle_rank
from specalign.mock.files import write_survey
from specalign.mock.labels import ELEMENTS, draw_labels, measure_labels
from specalign.mock.model import spectrum

__all__ = [
    "ELEMENTS",
    "cramer_rao",
    "draw_labels",
    "gradients",
    "label_covariance",
    "measure_labels",
    "oracle_rank",
    "spectrum",
    "write_survey",
]
