"""What is in no export is said in a sentence, wherever it stands."""

import pytest

from ledger.errors import Malformed
from ledger.export_file import Header, Proof, line_of, parse_header

HEADER = Header("main", "example.org/log", 1, ())


def test_a_line_that_no_decoder_can_read_is_no_line_of_an_export():
    with pytest.raises(Malformed, match="This is not an export of a ledger"):
        parse_header(line_of(HEADER).replace(b'"main"', b'"\xff"'))
    with pytest.raises(Malformed, match="The checkpoint after position 0 is none"):
        Proof(HEADER).take(b'{"checkpoint":"\xff"}\n')
    with pytest.raises(Malformed, match="What follows position 0 is not an event"):
        Proof(HEADER).take(b'{"stream":"\xff"}\n')
