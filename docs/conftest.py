"""What pytest leaves alone here: programs that make the pages, which need Sphinx; their tests are in the package."""

collect_ignore_glob = ["*.py", "explanation/*.py", "user_guide/*.py"]
