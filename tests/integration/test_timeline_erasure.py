"""Personal data in the runtime view: sealed in notes, opened at the door, the same in two runs, gone once erased."""

import json
import os
from urllib.parse import quote

from doorway import doorway
from personal_world import CUSTOMER, MAIL, Customers, update

from gateway.keyring_file import KeyringFile
from ledger.sealing import ERASED

NOTES = "select string_agg(encode(body, 'escape'), ' ') from intent_ledger.events where stream like 'notes/%'"


async def test_personal_data_are_sealed_in_notes_and_comparisons_and_gone_once_erased(dsn, tmp_path):
    keyring = KeyringFile(tmp_path / "personal.keyring", os.urandom)
    async with doorway(dsn, None, Customers(), keyring=keyring) as door:
        first, second = [(await door.submit(update(**more)))[1] for more in ({}, {"again": True})]
        said = {"text": f"{MAIL} wrote to us.", "data": {"from": MAIL}}
        status, note, _ = await door.post(f"/v1/intents/{first['id']}/notes", said)
        assert (status, note["text"], note["data"]) == (201, said["text"], said["data"])
        assert MAIL not in await door.service.pool.fetchval(NOTES)
        compare = f"/v1/timeline/compare?left={first['id']}&right={second['id']}"
        _, shown, _ = await door.get(compare)
        assert {one["path"] for one in shown["differences"]} <= {"/0/again"}
        await door.post(f"/v1/subjects/{quote(CUSTOMER, safe='')}/erase", {"reason": "They asked for it."})
        for address in (compare, f"/v1/intents/{first['id']}/timeline"):
            _, shown, _ = await door.get(address)
            assert MAIL not in json.dumps(shown)
        assert shown["notes"][0]["text"] == f"{ERASED} wrote to us."
