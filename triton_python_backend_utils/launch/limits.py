"""How much an archive may become, and the count of what it has become so far."""

from __future__ import annotations

from dataclasses import dataclass

from .problem import EnvironmentProblem, size_text


@dataclass(frozen=True)
class Limits:
    """What unpacking may cost. Real bytes count, never those that an archive declares.

    The defaults let every real environment pass (CUDA and torch: 10 GB, 50,000 files, unpacked/packed = 3)
    and stop what can only be a bomb. Small archives may unpack at any ratio: `ratio` counts from
    `ratio_from_bytes` on.
    """

    bytes: int = 256 << 30
    entries: int = 4_000_000
    ratio: int = 200
    ratio_from_bytes: int = 4 << 30


class Budget:
    """Counts what unpacking one archive costs, and ends it when that is too much."""

    def __init__(self, limits: Limits, name: str, archive_bytes: int) -> None:
        self._limits = limits
        self._name = name
        self._archive_bytes = archive_bytes
        self.bytes = 0
        self.entries = 0

    def spend(self, count: int) -> None:
        """So many bytes came out of the archive.

        Raises:
            EnvironmentProblem: that is more than the limits allow.
        """
        self.bytes += count
        if self.bytes > self._limits.bytes:
            raise EnvironmentProblem(
                f"{self._name} unpacks to more than {size_text(self._limits.bytes)}, the limit. {_UNPACK}"
            )
        if self.bytes > max(self._limits.ratio_from_bytes, self._limits.ratio * self._archive_bytes):
            raise EnvironmentProblem(
                f"{self._name} unpacks to more than {self._limits.ratio} times its own size of "
                f"{size_text(self._archive_bytes)}, as archives do that are made to fill disks. {_UNPACK}"
            )

    def check_size(self, size: int) -> None:
        """A file that is mostly a hole looks as large as this.

        Raises:
            EnvironmentProblem: that is more than all of an archive may be.
        """
        if size > self._limits.bytes:
            raise EnvironmentProblem(
                f"{self._name} holds a file of {size_text(size)}, and the limit is "
                f"{size_text(self._limits.bytes)}. {_UNPACK}"
            )

    def add_entry(self) -> None:
        """A file, a folder or a link came out of the archive.

        Raises:
            EnvironmentProblem: that is more than the limits allow.
        """
        self.entries += 1
        if self.entries > self._limits.entries:
            raise EnvironmentProblem(
                f"{self._name} holds more than {self._limits.entries} files and folders, the limit. {_UNPACK}"
            )


_UNPACK = "If it is right as it is, unpack it yourself and name the folder in EXECUTION_ENV_PATH"
