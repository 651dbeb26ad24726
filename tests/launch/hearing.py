"""A listener that remembers what it was told."""

from __future__ import annotations

from triton_python_backend_utils.launch.progress import Progress


class Heard(Progress):
    def __init__(self) -> None:
        self.signs = 0
        self.steps: list[str] = []
        self.warnings: list[str] = []
        self.phases: dict[str, list[tuple[int, int]]] = {}

    def alive(self) -> None:
        self.signs += 1

    def advance(self, phase: str, done: int, total: int) -> None:
        super().advance(phase, done, total)
        self.phases.setdefault(phase, []).append((done, total))

    def step(self, text: str) -> None:
        self.steps.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
