"""Programs of npm packages that `make test` has installed beside this file."""

from pathlib import Path

_PROGRAMS = Path(__file__).parent / "node_modules" / ".bin"


def program(name: str) -> Path:
    """Return the path of a program; fails with a sentence where it is not installed."""
    path = _PROGRAMS / name
    if not path.exists():
        raise AssertionError(f"The tests need {name}; `make servers` installs it (it needs Node.js and npm).")
    return path
