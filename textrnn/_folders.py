"""Folders of files that belong together: whole or not there, and known by their checksums."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textrnn.errors import InvalidValueError, expected, listing

__all__ = ["Layout", "fingerprint"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a kind of folder consists of.

    Attributes:
        what: What such a folder holds, for messages: `"a saved model"`.
        argument: The argument that names the folder, for messages.
        manifest: The file that every such folder has.
        others: The other files that it may have.
    """

    what: str
    argument: str
    manifest: str
    others: Collection[str]

    def check_target(self, path: str | os.PathLike[str]) -> Path:
        """Return the folder that `path` names, links followed, if it may be written.

        Args:
            path: The folder.

        Raises:
            InvalidValueError: If there is anything at `path` but such a folder or an empty one.
        """
        target = Path(os.path.realpath(path))
        if not os.path.lexists(target):
            return target
        rule = f"a new or empty folder, or one with nothing but {self.what}"
        if not target.is_dir():
            raise InvalidValueError(expected(self.argument, rule, str(target)))
        names = {entry.name for entry in target.iterdir()}
        strange = names - {self.manifest, *self.others}
        if names and (self.manifest not in names or strange):
            raise InvalidValueError(
                f"Expected `{self.argument}` to be {rule}, but {target} holds {listing(strange)}."
            )
        return target

    @contextmanager
    def taking_the_place_of(self, path: str | os.PathLike[str]) -> Iterator[Path]:
        """Make a new folder beside, which is renamed to `path` at the end, or deleted.

        Args:
            path: The folder; folders above it are made.

        Yields:
            The new folder, to be filled.

        Raises:
            InvalidValueError: If there is anything at `path` but such a folder or an empty one.
            OSError: If it can't be written; what was there before is intact.
        """
        target = self.check_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}.tmp")
        aside.mkdir()
        try:
            yield aside
            _swap(aside, target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _swap(aside: Path, target: Path) -> None:
    """Put a new folder in the place of an old one, which is put back if that fails."""
    if not target.exists():
        aside.rename(target)
        return
    old = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}.old")
    target.rename(old)
    try:
        aside.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def fingerprint(path: Path) -> dict[str, Any]:
    """Return a file's size and checksum, as a manifest has them.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}
