"""Writes the files of an archive below one folder, and never anywhere else.

Names are bytes, as they lie in archives and on disks. Nobody else writes to the folder meanwhile: what can
turn a harmless name into a harmful one is an earlier entry of the same archive, a link.
"""

# The paths are bytes.
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH114, PTH115, PTH118, PTH120, PTH123, PTH211

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from .limits import Budget
from .problem import EnvironmentProblem

# Nobody but the owner may write; no entry runs with the powers of another user.
_KEPT = 0o755
_FILE_NEEDS, _FOLDER_NEEDS = 0o600, 0o700
CHUNK = 1 << 20

# Hands out the next bytes of a file, at most so many; b"" at its end.
Read = Callable[[int], bytes]


class Tree:
    """The folder that an archive is unpacked into."""

    def __init__(self, root: Path, archive: str, budget: Budget) -> None:
        """`root` exists and is empty; `archive` is how messages name the archive."""
        self._root = os.path.realpath(os.fsencode(root))
        self._archive = archive
        self._budget = budget
        # Folders that are known to be none but folders, themselves and all above them.
        self._folders = {b""}
        self._links: list[bytes] = []
        self.files = 0

    def folder(self, name: bytes, mode: int) -> None:
        """A folder, which may exist already."""
        parts = self._parts(name)
        if not parts:
            return
        path = self._free_place(name, parts, keeps_folder=True)
        if not os.path.isdir(path):
            self._budget.add_entry()
            os.mkdir(path, _FOLDER_NEEDS)
        os.chmod(path, mode & _KEPT | _FOLDER_NEEDS)

    def file(self, name: bytes, mode: int, changed_ns: int, write: Callable[[int], None]) -> None:
        """A file, which `write` fills through the descriptor that it gets."""
        path = self._new_place(name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_NEEDS)
        try:
            write(fd)
            os.fchmod(fd, mode & _KEPT | _FILE_NEEDS)
            # Python takes bytecode for stale when its source has another time.
            _set_time(fd, changed_ns)
        finally:
            os.close(fd)
        self.files += 1

    def link(self, name: bytes, target: bytes) -> None:
        """A symbolic link, which must stay within the folder."""
        if target.startswith(b"/"):
            raise self._refusal(
                name,
                f"is a link to {_text(target)}, which need not be the same on another machine: environments "
                "that unpack anywhere hold no such links. Pack it with `triton-python env pack`",
            )
        if not target or b"\0" in target:
            raise self._refusal(name, "is a link to nothing")
        path = self._new_place(name)
        depth = os.path.dirname(path)[len(self._root) :].count(b"/")
        for part in target.split(b"/"):
            depth += {b"..": -1, b".": 0, b"": 0}.get(part, 1)
            if depth < 0:
                raise self._refusal(name, f"is a link to {_text(target)}, which leads out of the archive")
        os.symlink(target, path)
        self._links.append(path)
        self.files += 1

    def hard_link(self, name: bytes, target: bytes) -> None:
        """Another name for a file that is there already."""
        parts = self._parts(target)
        source = self._resolved_parent(target, parts, makes=False)
        there = None if source is None or not parts else _status(os.path.join(source, parts[-1]))
        if source is None or there is None or stat.S_ISDIR(there.st_mode):
            raise self._refusal(
                name, f"is a hard link to {_text(target)}, which is no file that came before it"
            )
        origin = os.path.join(source, parts[-1])
        path = self._new_place(name, keeps=origin)
        if path == origin:
            return  # to itself: it is there
        try:
            os.link(origin, path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            self._copy(origin, path)  # a file system without hard links
        if stat.S_ISLNK(there.st_mode):
            self._links.append(path)
        self.files += 1

    def check_links(self) -> None:
        """Refuse links that lead outside now that all is there: a later entry can change where one leads."""
        for path in self._links:
            if os.path.islink(path) and not self._is_inside(os.path.realpath(path)):
                name = path[len(self._root) + 1 :]
                raise self._refusal(name, f"is a link to {_text(os.readlink(path))}, which leads out of it")

    def refuse(self, name: bytes, what: str) -> EnvironmentProblem:
        """The exception to raise for an entry that nothing may be made of, such as a device."""
        return self._refusal(name, f"is {what}: environments hold files, folders and links")

    def _new_place(self, name: bytes, keeps: bytes | None = None) -> bytes:
        parts = self._parts(name)
        if not parts:
            raise self._refusal(name, "has the name of the archive's own folder and is no folder")
        path = self._free_place(name, parts, keeps=keeps)
        self._budget.add_entry()
        return path

    def _free_place(
        self, name: bytes, parts: list[bytes], keeps_folder: bool = False, keeps: bytes | None = None
    ) -> bytes:
        """The path for an entry; what an earlier one of that name left there is gone, and not followed.

        Unless it is what it may keep: the path `keeps`, or a folder.
        """
        parent = self._resolved_parent(name, parts, makes=True)
        assert parent is not None
        path = os.path.join(parent, parts[-1])
        there = _status(path)
        if there is None or path == keeps:
            return path
        if stat.S_ISDIR(there.st_mode):
            if not keeps_folder:
                raise self._refusal(name, "is a folder in one place and something else in another")
        else:
            os.unlink(path)
        return path

    def _resolved_parent(self, name: bytes, parts: list[bytes], makes: bool) -> bytes | None:
        """The folder that the entry lies in, without links in its path; made if it is missing and `makes`."""
        known = b"/".join(parts[:-1])
        if known in self._folders:
            return os.path.join(self._root, known) if known else self._root
        path, walked, has_link = self._root, b"", False
        for part in parts[:-1]:
            path = os.path.join(path, part)
            walked = os.path.join(walked, part)
            there = _status(path)
            if there is None:
                if not makes:
                    return None
                self._budget.add_entry()
                os.mkdir(path, _KEPT)
            elif stat.S_ISLNK(there.st_mode):
                path, has_link = self._through_link(name, path), True
            elif not stat.S_ISDIR(there.st_mode):
                raise self._refusal(name, f"lies below {_text(walked)}, which is no folder")
            if not has_link:
                self._folders.add(walked)
        return path

    def _through_link(self, name: bytes, link: bytes) -> bytes:
        path = os.path.realpath(link)
        if not self._is_inside(path):
            raise self._refusal(name, "goes through a link that leads out of the archive")
        if not os.path.isdir(path):
            raise self._refusal(name, "lies below a link that leads to no folder")
        return path

    def _is_inside(self, path: bytes) -> bool:
        return path == self._root or path.startswith(self._root + b"/")

    def _parts(self, name: bytes) -> list[bytes]:
        if name.startswith(b"/"):
            raise self._refusal(name, "has an absolute name")
        if b"\0" in name:
            raise self._refusal(name, "has a name with a zero byte")
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise self._refusal(name, "has a name with '..', which may lead out of the archive")
        return parts

    def _copy(self, origin: bytes, path: bytes) -> None:
        if os.path.islink(origin):
            os.symlink(os.readlink(origin), path)
            return
        with open(origin, "rb") as source, open(path, "xb") as copy:
            while chunk := source.read(CHUNK):
                self._budget.spend(len(chunk))
                copy.write(chunk)
            status = os.fstat(source.fileno())
            os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode))
            copy.flush()
            _set_time(copy.fileno(), status.st_mtime_ns)

    def _refusal(self, name: bytes, what: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"{self._archive} is not unpacked, because its entry '{_text(name)}' {what}"
        )


def write_all(fd: int, data: bytes) -> None:
    """All of it: a disk that fills up takes a part first."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _set_time(fd: int, changed_ns: int) -> None:
    # Some times are more than a file system can hold.
    with contextlib.suppress(OverflowError, ValueError, OSError):
        os.utime(fd, ns=(changed_ns, changed_ns))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
