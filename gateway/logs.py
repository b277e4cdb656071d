"""What the service says while it runs: one line an event, on standard error.

An event's name is a fact in snake_case (`embedded_postgres_started`), its fields are plain and short. No payload and no
secret belongs in a log: a value that is no scalar is replaced by the name of its type, and a long one is cut.
"""

import logging
import sys
from typing import Final, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_VALUE_LENGTH: Final = 500
_SCALARS: Final = (str, int, float, bool, type(None))
_WORDS: Final = frozenset({"exc_info", "_record", "_from_structlog", "exception"})  # structlog's own fields


def configure(level: str, form: Literal["auto", "json", "text"]) -> None:
    """Set up logging for this process, ours and that of the libraries; `auto` is text on a terminal, otherwise JSON."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        only_scalars,
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                timestamp_key="at",
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the default one prints local variables: payloads
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    others = logging.StreamHandler(sys.stderr)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    others.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, *last]))
    logging.basicConfig(handlers=[others], level=max(number, logging.WARNING), force=True)
    logging.getLogger("asyncpg").setLevel(logging.ERROR)  # what it warns of, with a traceback, we say ourselves


def only_scalars(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep what is plain and short of each field, so that no payload enters a log by accident."""
    for name, value in event.items():
        if name in _WORDS:
            continue
        if not isinstance(value, _SCALARS):
            event[name] = f"<{type(value).__name__}>"
        elif isinstance(value, str) and len(value) > _VALUE_LENGTH:
            event[name] = value[:_VALUE_LENGTH] + "…"
    return event
