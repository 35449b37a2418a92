"""A small mock survey that has gone through the verbs once."""

import pytest

from specalign.cli import main
from specalign.mock import write_survey


@pytest.fixture(scope="package")
def survey(tmp_path_factory):
    """Folder with mock files of 60 stars, and what prepare, train and embed made of them."""
    folder = tmp_path_factory.mktemp("survey")
    write_survey(folder / "mock", 60, ("apogee", "nirspec"), seed=5)
    prepared, aligner = str(folder / "prepared"), str(folder / "aligner")
    assert main(["prepare", str(folder / "mock"), "--output", prepared]) == 0
    assert main(["train", prepared, "--output", aligner, "--max-epochs", "2", "--embed-dim", "16"]) == 0
    assert main(["embed", prepared, "--aligner", aligner, "--output", str(folder / "embeddings")]) == 0
    return folder
