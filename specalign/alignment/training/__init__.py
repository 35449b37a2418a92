"""Training on Lightning: the only place that imports it."""

from specalign.alignment.training.averaging import WeightAverage
from specalign.alignment.training.contrast import AlignmentModule, Settings
from specalign.alignment.training.loop import Recorder, SpectraModule, TrainingData, train
from specalign.alignment.training.pretraining import PretrainingModule, PretrainingSettings
from specalign.alignment.training.supervised import LabelModule, LabelSettings

__all__ = [
    "AlignmentModule",
    "LabelModule",
    "LabelSettings",
    "PretrainingModule",
    "PretrainingSettings",
    "Recorder",
    "Settings",
    "SpectraModule",
    "TrainingData",
    "WeightAverage",
    "train",
]
