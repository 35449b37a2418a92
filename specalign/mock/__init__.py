"""The embedded survey: labels to mock spectra of every built-in instrument, written as real files.

Nothing here is an observation.  Every file says so in its header, and the folder in its README.
"""

from specalign.mock.files import write_survey
from specalign.mock.labels import draw_labels
from specalign.mock.model import spectrum

__all__ = ["draw_labels", "spectrum", "write_survey"]
