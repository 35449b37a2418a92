"""What the package logs and shows on standard error while a verb runs."""

import contextlib
import logging
import sys

__all__ = ["logged", "shown"]


class _Lines(logging.Handler):
    """Writes lines above a progress bar instead of into it."""

    def emit(self, record):
        from tqdm import tqdm

        with contextlib.suppress(BrokenPipeError):
            tqdm.write(self.format(record), file=sys.stderr)

    def format(self, record):
        """As warnings of the command line are written."""
        return f"specalign: {record.levelname.lower()}: {super().format(record)}"


@contextlib.contextmanager
def logged(level):
    """Print the messages of the package's loggers from this level on; others' loggers stay as they are."""
    logger, handler = logging.getLogger("specalign"), _Lines()
    before = logger.level
    logger.setLevel(level.upper())
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def shown(progress):
    """Show no progress bars, also deep inside, where they were switched off."""
    if progress:
        yield
        return
    from specalign.config import conf

    with conf.set_temp("progress", False):
        yield
