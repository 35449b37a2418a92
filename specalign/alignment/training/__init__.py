"""Training on Lightning: the only place that imports it."""

from specalign.alignment.training.adaptation import AdaptationModule, AdaptationSettings
from specalign.alignment.training.averaging import WeightAverage
from specalign.alignment.training.contrast import AlignmentModule, Settings
from specalign.alignment.training.loop import Recorder, SpectraModule, TrainingData, train
from specalign.alignment.training.pretraining import PretrainingModule, PretrainingSettings
from specalign.alignment.training.supervised import LabelModule, LabelSettings
from specalign.alignment.training.updates import add_updates, merge_updates

__all__ = [
    "AdaptationModule",
    "AdaptationSettings",
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
    "add_updates",
    "merge_updates",
    "train",
]
