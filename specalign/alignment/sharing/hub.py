"""Published models to a model hub, and from it: only JSON, safetensors, ECSV and the card ever travel."""

import contextlib
import logging
import tempfile
from pathlib import Path

from specalign.alignment import checkpoint
from specalign.alignment.sharing.folder import (
    CONFIG,
    FILE_NAME,
    PUBLISHED,
    export_weights,
    load_weights,
    read_published,
)
from specalign.config import get_cache_folder, wants_progress
from specalign.exceptions import CheckpointError, FetchError, MissingExtraError

__all__ = ["pull_from_hub", "push_to_hub"]

log = logging.getLogger(__name__)

CARD = "README.md"
OLDER = ["*.safetensors", "grid-*.ecsv", "split-*.ecsv"]  # of a model; other tables are the user's


def push_to_hub(
    model, repo_id, *, revision=None, private=True, message="", token=None, endpoint=None, progress=None, **options
):
    """Upload a trained model, or a folder that `export_weights` wrote, as one commit.

    Parameters
    ----------
    model : Aligner, LabelRegressor, Encoder, str or `~pathlib.Path`
    repo_id : str
        Such as ``"group/lamost-specformer"``; made if it does not exist.  It holds one model: the commit removes
        tensors, grids and splits that are not of this one, which stay in the repository's history.
    revision : str, optional
        A branch that exists; the main one by default.
    private : bool
        Of a repository that is made here; one that exists stays as it is.
    message : str
        Of the commit.
    token : str or bool, optional
        Of a user that may write; by default the one that huggingface_hub knows from its own login.  It is neither
        stored nor logged.
    endpoint : str, optional
        Address of the hub; by default huggingface_hub's own (or ``HF_ENDPOINT``).
    progress : bool, optional
        Show progress bars; by default as `~specalign.config.conf` says, where somebody looks on.
    **options
        Of `export_weights`, for a model.

    Returns
    -------
    str
        Identifier of the commit.

    Raises
    ------
    MissingExtraError
        huggingface_hub is not installed.
    CheckpointError
        The folder is no published model, or was changed since.
    FetchError
        The hub refused, or cannot be reached.

    Examples
    --------
    >>> from specalign.alignment import push_to_hub
    >>> push_to_hub("no such folder", "me/mine")
    Traceback (most recent call last):
    ...
    specalign.exceptions.CheckpointError: no such folder/config.json: expected a file of a saved published model, ...
    """
    with contextlib.ExitStack() as stack:
        folder = model
        if not isinstance(model, (str, Path)):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            export_weights(model, folder, **options)
        elif options:
            raise ValueError(f"expected no options of export_weights for a folder, got {', '.join(options)}")
        config, contents = read_published(folder)
        names = [CONFIG, *contents, *([CARD] if (Path(folder) / CARD).is_file() else [])]
        api = stack.enter_context(_hub(repo_id, token, endpoint, progress))
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            allow_patterns=names,
            delete_patterns=OLDER,
            commit_message=message or f"Upload a specalign {config['kind']}",
        )
        log.info("%s: %d files uploaded as %s", repo_id, len(names), commit.oid)
        return commit.oid


def pull_from_hub(repo_id, *, revision=None, folder=None, token=None, endpoint=None, progress=None):
    """Download a published model and load it; its digests are checked.

    ``config.json`` is read first, and only the safetensors and ECSV files that it names follow, all of one commit.

    Parameters
    ----------
    repo_id : str
    revision : str, optional
        Branch, tag or commit; name a commit where a result must be repeated.
    folder : str or `~pathlib.Path`, optional
        Where the files go; by default below the cache folder of `~specalign.config.conf`, a folder a commit.
    token, endpoint, progress
        As for `push_to_hub`; a public model needs no token.

    Returns
    -------
    Aligner, LabelRegressor or Encoder

    Raises
    ------
    MissingExtraError
        huggingface_hub is not installed.
    CheckpointError
        The published model names files of another kind, or a file does not have its digest.
    FetchError
        There is no such repository or revision, it holds no ``config.json``, or the hub cannot be reached.

    Examples
    --------
    A port on which nobody listens:

    >>> from specalign.alignment import pull_from_hub
    >>> pull_from_hub("me/mine", endpoint="http://127.0.0.1:9", token=False)  # doctest: +SKIP
    Traceback (most recent call last):
    ...
    specalign.exceptions.FetchError: me/mine: the hub cannot be reached ...
    """
    with _hub(repo_id, token, endpoint, progress) as api:
        commit = api.model_info(repo_id, revision=revision).sha
        folder = Path(folder or get_cache_folder() / "hub" / repo_id.replace("/", "--") / commit)
        chosen = {"repo_id": repo_id, "revision": commit, "local_dir": folder}
        api.hf_hub_download(filename=CONFIG, **chosen)
        names = _named_files(folder / CONFIG)
        api.snapshot_download(allow_patterns=[*names, CARD], **chosen)
    log.info("%s: %d files of %s in %s", repo_id, len(names), commit, folder)
    return load_weights(folder)


def _named_files(path):
    """Files that a downloaded ``config.json`` asks for; nothing that could be code is downloaded."""
    files = checkpoint.read_description(path, PUBLISHED).get("files")
    wrong = [name for name in files if not FILE_NAME.fullmatch(name)] if isinstance(files, dict) else [files]
    if wrong:
        raise CheckpointError(
            f"{path}: expected files called *.safetensors and *.ecsv, got {wrong[0]!r}; not downloaded"
        )
    return list(files)


@contextlib.contextmanager
def _hub(repo_id, token, endpoint, progress):
    """A client of the hub whose errors are ours."""
    try:
        from huggingface_hub import HfApi, errors
    except ModuleNotFoundError as error:
        raise MissingExtraError("a model hub needs huggingface_hub: pip install 'specalign[hub]'") from error
    refused = (
        errors.HfHubHTTPError,
        errors.HFValidationError,
        errors.EntryNotFoundError,
        errors.LocalTokenNotFoundError,
    )
    with _progress_bars(wants_progress(progress)):
        try:
            yield HfApi(endpoint=endpoint, token=token, library_name="specalign")
        except refused as error:
            raise FetchError(f"{repo_id}: the hub refused ({_hidden(error, token)})") from None
        except (CheckpointError, FetchError):
            raise
        except Exception as error:
            if not _is_connection(error):
                raise
            raise FetchError(f"{repo_id}: the hub cannot be reached ({_hidden(error, token)}); try again") from None


def _is_connection(error):
    """Whether an error is one of the HTTP client's, whichever client huggingface_hub uses."""
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return bool(modules & {"httpx", "httpx2", "httpcore", "httpcore2", "requests"}) or isinstance(
        error, (ConnectionError, TimeoutError)
    )


def _hidden(error, token):
    """One line of an error, without the token."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text.replace(token, "***") if isinstance(token, str) and token else text


@contextlib.contextmanager
def _progress_bars(wanted):
    from huggingface_hub import utils

    if wanted or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()
