"""Write files and folders atomically, with checksums; read untrusted ones safely."""

from textrnn._storage.files import (
    check_unchanged,
    claim,
    clear_leftovers,
    corrupt,
    write_atomically,
)
from textrnn._storage.jsonfiles import from_json, parse_json, read_json, write_json
from textrnn._storage.reading import OpenFolder, open_folder
from textrnn._storage.writing import (
    FolderFormat,
    NewFile,
    NewFolder,
    check_writable,
    new_folder,
    remove_folder,
)

__all__ = [
    "FolderFormat",
    "NewFile",
    "NewFolder",
    "OpenFolder",
    "check_unchanged",
    "check_writable",
    "claim",
    "clear_leftovers",
    "corrupt",
    "from_json",
    "new_folder",
    "open_folder",
    "parse_json",
    "read_json",
    "remove_folder",
    "write_atomically",
    "write_json",
]
