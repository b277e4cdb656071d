"""Write the events of this release into the corpus: `python tests/corpus/keep.py VERSION`, before it goes out.

Nothing was published yet, but ledgers may exist of every state of `main`: 0.1 knew intents, 0.2 authority, 0.3 undo
plans, and 0.4 the record. A file holds whole streams of a ledger, one event a line, in order; of every type there are
some. What is kept once is kept for ever and never written again: `tests/unit/test_corpus.py` reads all of it with
whatever the events are then.
"""

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from histories import ledger_of

WANTED = 3  # of each type
INTENTS = 400


def main(file: Path) -> None:
    """Choose streams that show every type, the ones with something rare first, and write them as they mixed."""
    if file.exists():
        sys.exit(f"{file.name} is kept already, and never changes.")
    events = ledger_of(7, INTENTS)
    streams: dict[str, list] = {}
    for one in events:
        streams.setdefault(one.stream, []).append(one)
    often = Counter(one.type for one in events)
    kept, seen = set(), Counter()
    for stream in sorted(streams, key=lambda name: min(often[one.type] for one in streams[name])):
        types = [one.type for one in streams[stream]]
        if any(seen[name] < WANTED for name in types):
            kept.add(stream)
            seen.update(types)
    lines = [
        {
            "stream": one.stream,
            "version": one.version,
            "type": one.type,
            "at": one.at.isoformat(),
            "body": one.body.decode(),
        }
        for one in events
        if one.stream in kept
    ]
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    sys.stdout.write(f"{len(lines)} events of {len(seen)} types in {len(kept)} streams\n")


if __name__ == "__main__":
    main(Path(__file__).parent / f"{sys.argv[1]}.ndjson")
