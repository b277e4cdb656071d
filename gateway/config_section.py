"""One table of the configuration file that is about this process, beside those of the adapters.

A table that is not there says nothing, and everything in it has its default. What an error says never contains what
stood in the file.
"""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from adapters.configuration import read
from adapters.tables import Table
from ledger.errors import Misconfigured

Shape = TypeVar("Shape", bound=Table)


def section(config: Path | None, name: str, shape: type[Shape]) -> Shape:
    """Read a table of the file by its name. Raises `Misconfigured` with a sentence on each fault, naming its place."""
    table = read(config).get(name, {}) if config is not None else {}
    try:
        return shape.model_validate_json(json.dumps(table))  # JSON mode: strict, and knows enumerations
    except TypeError:
        raise Misconfigured(
            f"{config}, [{name}]: dates and times have no meaning here; write a text or a number. Nothing was started."
        ) from None
    except ValidationError as error:
        faults = [
            f"{config}, [{'.'.join([name, *map(str, one['loc'])])}]: {one['msg'][:1].lower()}{one['msg'][1:]}."
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Misconfigured(f"{' '.join(faults)} Nothing was started.", errors=faults) from None
