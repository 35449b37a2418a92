"""An encoder, held to what the package promises of it."""

from specalign.testing.encoder_state import ENCODER

__all__ = ["check_encoder", "encoder_checks", "parametrize_encoder"]


def check_encoder(target, *, expected_failures=None, checks=None, seed=0, on_fail="raise", callback=None):
    """Hold an encoder to everything that the package promises of it.

    The spectra are drawn by the checks, on as many pixels as the encoder was built for; nothing is downloaded, and all
    of it takes a few seconds.

    Parameters
    ----------
    target : str, class or Encoder
        The name of a plugin, a class that is built with 96 pixels and 8 dimensions, or an encoder with options of its
        own, of which copies are used.
    expected_failures : dict of str to str, optional
        Reasons by the name of the check. An expected failure that does not come is a failure.
    checks : sequence of str, optional
        Names of those to run. Default: all.
    seed : int
        Of the spectra and the initial weights.
    on_fail : {"raise", "warn", "record"}
        What to do about failures, after all checks have run.
    callback : callable, optional
        ``callback(check, status, reason)`` is called after each check.

    Returns
    -------
    CheckTable

    Raises
    ------
    ContractError
        A check failed that was not expected to, or the other way round; ``error.results`` is the table.
    ValueError
        ``on_fail``, a name in ``checks`` or that of an expected failure is unknown.

    Examples
    --------
    >>> from specalign import get_encoder
    >>> from specalign.testing import check_encoder
    >>> names = ["masked_pixels_never_matter", "batch_equals_loop"]
    >>> check_encoder(get_encoder("starnet", n_pixels=64, embed_dim=4), checks=names).counts
    {'passed': 2}
    """
    options = {"expected_failures": expected_failures, "checks": checks, "seed": seed}
    return ENCODER.run(target, on_fail=on_fail, callback=callback, **options)


def encoder_checks(target, *, seed=0):
    """Give out the checks of `check_encoder` one by one.

    Parameters
    ----------
    target : str, class or Encoder
    seed : int

    Yields
    ------
    name : str
    check : callable
        Without arguments.

    Examples
    --------
    >>> from specalign.testing import encoder_checks
    >>> checks = dict(encoder_checks("mlp"))
    >>> checks["masked_pixels_never_matter"]()
    """
    yield from ENCODER.generate(target, seed=seed)


def parametrize_encoder(target, *, expected_failures=None, seed=0, marks=None):
    """Make a test of each check of `check_encoder`: a decorator for pytest.

    Parameters
    ----------
    target : str, class or Encoder
    expected_failures : dict of str to str, optional
        Reasons by the name of the check; these become strict ``xfail``.
    seed : int
    marks : dict of str to mark, optional
        Further marks of pytest by the name of the check.

    Returns
    -------
    `pytest.MarkDecorator`

    Examples
    --------
    >>> from specalign.testing import parametrize_encoder
    >>> @parametrize_encoder("mlp")
    ... def test_contract(check):
    ...     check()
    """
    return ENCODER.parametrize(target, expected_failures=expected_failures, seed=seed, marks=marks)
