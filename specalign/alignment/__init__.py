"""Several encoders into one shared space."""

from specalign.alignment.aligner import Aligner
from specalign.alignment.history import History

__all__ = ["Aligner", "History"]
