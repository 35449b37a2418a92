"""Training on Lightning: the only place that imports it."""

from specalign.alignment.training.contrast import AlignmentModule, Settings
from specalign.alignment.training.loop import Recorder, SpectraModule, TrainingData, train

__all__ = ["AlignmentModule", "Recorder", "Settings", "SpectraModule", "TrainingData", "train"]
