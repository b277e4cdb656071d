"""Exit codes follow the tree of errors: what a class means, everything below it means too."""

from collections.abc import Iterator

import pytest

from gateway import cli
from ledger.errors import LedgerError, Misconfigured, Unavailable


def tree(root: type[LedgerError]) -> Iterator[type[LedgerError]]:
    if root.__module__ == LedgerError.__module__:  # what an adapter makes of it never leaves the adapter
        yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("error", list(tree(LedgerError)))
def test_every_error_ends_the_command_with_the_code_of_its_branch(
    error: type[LedgerError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("It went wrong.")

    monkeypatch.setattr(cli, "app", fail)
    wanted = 3 if issubclass(error, Unavailable) else 2 if issubclass(error, Misconfigured) else 1
    assert cli._code(["anything"]) == wanted
    assert capsys.readouterr().err == "It went wrong.\n"
