"""Model folders in repositories of the Hugging Face Hub."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from textrnn._version import __version__
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
    TextrnnError,
    expected,
    import_extra,
    show,
)
from textrnn.runtime.folder import FOLDER_FORMAT

__all__ = ["check_license", "check_repo_id", "fetch", "upload"]

_REPO_ID = re.compile(r"(?!.*(--|\.\.|\.git$))\b[\w.-]{1,96}\b/\b[\w.-]{1,96}\b", re.ASCII)
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def check_repo_id(repo_id: str) -> None:
    """Raise an error unless `repo_id` has the form of a repository's name."""
    rule = "the name of a repository, 'owner/name'"
    if not isinstance(repo_id, str):
        raise InvalidTypeError(expected("repo_id", rule, repo_id))
    if not _REPO_ID.fullmatch(repo_id):
        raise InvalidValueError(expected("repo_id", rule, repo_id))


def check_license(name: str) -> None:
    """Raise an error unless `name` has the form of the Hub's identifiers of licenses."""
    rule = "an identifier of a license, such as 'mit' or 'cc-by-4.0'"
    if not isinstance(name, str):
        raise InvalidTypeError(expected("license", rule, name))
    if not _LICENSE.fullmatch(name):
        raise InvalidValueError(expected("license", rule, name))


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None,
    token: str | bool | None,
    commit_message: str,
) -> str:
    """Make a repository if there is none, and replace its model in one commit; return its URL."""
    hub = import_extra("huggingface_hub", extra="hub")
    api = _api(hub, token)
    with _hub_errors(hub):
        api.create_repo(repo_id, private=private, exist_ok=True)
        # A repository that exists keeps its visibility.
        if private is not None and api.model_info(repo_id).private != private:
            rule = f"{not private}, as for the repository {repo_id}, or None"
            raise InvalidValueError(expected("private", rule, private))
        # Not `upload_folder`, which may make several commits.
        files = [
            hub.CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path)
            for path in sorted(folder.iterdir())
        ]
        return str(api.create_commit(repo_id, files, commit_message=commit_message).commit_url)


def fetch(
    source: Any,
    *,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | os.PathLike[str] | None,
) -> Path:
    """Return a local folder as it is, or the downloaded files of a repository."""
    if not isinstance(source, str | os.PathLike):
        rule = "a folder, or the name of a repository"
        raise InvalidTypeError(expected("repo_id_or_folder", rule, source))
    if Path(source).is_dir():
        if revision is not None:
            raise InvalidValueError(expected("revision", "None for a local folder", revision))
        return Path(source)
    if not (isinstance(source, str) and _REPO_ID.fullmatch(source)):
        raise MissingFileError(f"There is no folder {show(os.fspath(source))}.")
    hub = import_extra("huggingface_hub", extra="hub")
    names = [FOLDER_FORMAT.manifest, *FOLDER_FORMAT.others]
    try:
        with _hub_errors(hub):
            folder = _api(hub, token).snapshot_download(
                source, revision=revision, cache_dir=cache_dir, allow_patterns=names
            )
    except hub.errors.RevisionNotFoundError as error:
        raise MissingFileError(f"{source} has no revision {show(revision)}.") from error
    except hub.errors.RepositoryNotFoundError as error:
        raise MissingFileError(
            f"There is no folder {show(source)}, and no repository of this name that `token` gives "
            f"access to on {hub.constants.ENDPOINT}."
        ) from error
    if not Path(folder, FOLDER_FORMAT.manifest).exists():
        raise FOLDER_FORMAT.unlike(source, f"the repository has no {FOLDER_FORMAT.manifest}")
    return Path(folder)


def _api(hub: ModuleType, token: str | bool | None) -> Any:
    return hub.HfApi(token=token, library_name="textrnn", library_version=__version__)


@contextmanager
def _hub_errors(hub: ModuleType) -> Iterator[None]:
    """Turn errors of the HTTP client and of transfers into an `OSError`, as others are."""
    try:
        yield
    except (OSError, TextrnnError):
        raise
    except Exception as error:
        raise OSError(f"{hub.constants.ENDPOINT}: {error}") from error
