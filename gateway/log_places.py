"""The places outside the database that are configured for a log, and what each of them knows of it."""

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from gateway.log_objects import Objects, new_bucket
from gateway.log_settings import LogSettings
from gateway.log_witness import WitnessClient, new_session
from ledger.bounds import LOG_PLACE_SECONDS
from ledger.errors import Misconfigured, Unavailable
from ledger.log.directory import Directory
from ledger.log.publisher import Place
from ledger.log.signed_note import Note
from ledger.log.tree import Log

if TYPE_CHECKING:
    from ledger.database import Pool


class Answer(msgspec.Struct, frozen=True):
    """What a place knows, or why nobody can tell."""

    place: str
    note: Note | None = None  # None: it has no checkpoint, unless there is a `failure`
    failure: str | None = None


async def open_places(opened: AsyncExitStack, pool: "Pool", ledger: str, settings: LogSettings) -> list[Place]:
    """Make every place that is configured, the directory first; `opened` closes them. Raises `Misconfigured`."""
    log = Log(pool, ledger)
    places: list[Place] = [Directory(settings.directory, log)]
    if settings.objects is not None:
        bucket = new_bucket(settings.objects)
        await bucket.open()
        opened.push_async_callback(bucket.close)
        places.append(Objects(settings.objects, bucket, log))
    if settings.witnesses:
        session = await opened.enter_async_context(new_session())
        places += [WitnessClient(one, settings.origin, log, session) for one in settings.witnesses]
    return places


async def ask_places(pool: "Pool", ledger: str, settings: LogSettings) -> list[Answer]:
    """Ask every place that is configured what it knows. Raises `Corrupt` for what is no checkpoint of a log."""
    unusable: list[Answer] = []
    async with AsyncExitStack() as opened:
        try:
            places = await open_places(opened, pool, ledger, settings)
        except Misconfigured as error:  # whoever verifies may not have the secrets of the bucket
            unusable = [Answer("[log.objects]", failure=error.message)]
            places = await open_places(opened, pool, ledger, msgspec.structs.replace(settings, objects=None))
        return [*await asyncio.gather(*map(_asked, places)), *unusable]


async def _asked(place: Place) -> Answer:
    try:
        async with asyncio.timeout(LOG_PLACE_SECONDS):
            return Answer(place.name, await place.known())
    except TimeoutError:
        return Answer(place.name, failure="It did not answer in time.")
    except (Unavailable, Misconfigured) as error:
        return Answer(place.name, failure=error.message)
