"""The matrix runs on servers of its own; what starts them is shared with the other tests of real servers."""

from __future__ import annotations

import sys
from pathlib import Path

# pytest imports these tests without touching sys.path.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "server")]
