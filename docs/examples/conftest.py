"""Each folder is a distribution of its own, whose tests run when it is installed."""

collect_ignore_glob = ["*/*"]
