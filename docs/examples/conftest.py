"""Each folder is a distribution of its own: its tests and examples run where it is installed."""

collect_ignore_glob = ["*"]
