"""``uc.recordings``: search page by page, look in the documented places, download whole files, many at once.

Where to look is :mod:`.places`' knowledge, how a file lands :mod:`.folder`'s. What is read here changes nothing on the
server, so it is read again as the retry rule says; nothing that rings is sent from this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec

from ..api.recordings import FindRecordings, Recording, RecordingCalls, check_guid
from ..caller import HttpCaller
from ..downloads import Download, Downloads
from ..endpoint import Safety
from ..errors import NotFound, Refused, ReplyLost, ServerFault, SettingsError, UContactError, Unauthorized
from ..settings import Secret
from ..tokens import Token
from .folder import Arrival, Folder, in_thread
from .places import Candidate, Format, Place, Places, Wanted, formats_of
from .report import Downloaded, DownloadReport

__all__ = ["Recordings"]

T = TypeVar("T")

# One hop into a thread costs about 0.1 ms, a block that waits for it memory.
_BLOCK = 262_144
_GIB = 1 << 30

Visit = Callable[[Candidate, Secret | None], Awaitable[T]]


class _Options(msgspec.Struct, frozen=True):
    wanted: Wanted
    convert: bool
    send_token: bool
    max_size: int

    def __post_init__(self) -> None:
        formats_of(self.wanted)
        if self.max_size < 1:
            raise SettingsError(f"max_size is a number of bytes from 1, not {self.max_size}")


class Recordings(RecordingCalls):
    """Recorded calls: search, tag, convert; find and fetch their files from the configured hosts, and no others."""

    def __init__(self, caller: HttpCaller, *, downloads: Downloads, places: Places) -> None:
        """Find calls through ``caller`` and fetch files through ``downloads`` from ``places``."""
        super().__init__(caller)
        self._http = caller
        self._downloads = downloads
        self._places = places

    def search(
        self,
        *,
        since: datetime,
        until: datetime,
        agent: str = "",
        campaign: str = "",
        source: str = "",
        destination: str = "",
        tag: str = "",
        hour_range: str = "",
        rating: str | int = "",
        min_duration: str | int = "",
        exclude: str = "",
        at_least: str | int = "",
        page: int = 50,
    ) -> AsyncIterator[Recording]:
        """Yield the recorded calls from ``since`` to ``until``, both included, page by page as they are asked for.

        An empty filter filters nothing; see :class:`FindRecordings`. Each guid is yielded once, also where pages
        overlap because calls were recorded meanwhile. It ends with a page that is not full, or brings nothing new.
        """
        request = FindRecordings(
            since=since,
            until=until,
            agent=agent,
            campaign=campaign,
            source=source,
            destination=destination,
            tag=tag,
            hour_range=hour_range,
            rating=str(rating),
            min_duration=str(min_duration),
            exclude=exclude,
            at_least=str(at_least),
            page=page,
        )
        return self._pages(request)

    async def _pages(self, request: FindRecordings) -> AsyncIterator[Recording]:
        seen: set[str] = set()
        while True:
            rows = await self._http.call(RecordingCalls.find, request)
            before = len(seen)
            for row in rows:
                if row.guid in seen:
                    continue
                if row.guid:
                    seen.add(row.guid)
                yield row
            # A server that ignores lastrow would send its first page for ever.
            if len(rows) < request.page or len(seen) == before:
                return
            request = msgspec.structs.replace(request, after=request.after + len(rows))

    async def locate(self, recording: Recording, *, format: Wanted = "any", send_token: bool = False) -> Place:  # noqa: A002
        """Return where ``recording`` lies: by day or not, on the host of recordings or its backup; mp3 before gsm.

        Raises :class:`NotFound` if it is in none of these places, and what went wrong if not all of them could be
        asked. ``send_token`` shows the session's token to the hosts of recordings, which otherwise never see it.
        """
        return await self._find(recording, formats_of(format), send_token=send_token)

    async def download(
        self,
        recording: Recording,
        folder: str | Path,
        *,
        format: Wanted = "mp3",  # noqa: A002
        convert: bool = True,
        send_token: bool = False,
        max_size: int = _GIB,
    ) -> Downloaded:
        """Fetch ``recording`` into ``folder`` as ``GUID.mp3`` or ``GUID.gsm``, whole, for nobody but its owner.

        A file of that name and length is taken for the recording, and nothing is ever overwritten. Where an mp3 is
        wanted and only a gsm is there, the server is asked to convert it, unless ``convert`` is false.

        Raises:
            NotFound: it is in none of the documented places.
            InvalidRequest: its guid cannot stand in a path.
            FileExistsError: something else has its name; other errors of the disk come as they are.
        """
        options = _Options(format, convert, send_token, max_size)
        check_guid(recording.guid)
        target = Folder(Path(folder))
        try:
            await in_thread(target.open)
            return await self._download(recording, target, options)
        finally:
            target.close()

    async def download_all(
        self,
        recordings: Iterable[Recording] | AsyncIterable[Recording],
        folder: str | Path,
        *,
        max_concurrency: int = 8,
        format: Wanted = "mp3",  # noqa: A002
        convert: bool = True,
        send_token: bool = False,
        max_size: int = _GIB,
        progress: Callable[[DownloadReport], None] | None = None,
    ) -> DownloadReport:
        """Fetch many recordings, ``max_concurrency`` at once, and return how many landed; see :meth:`download`.

        ``recordings`` is any iterable or async iterable, such as a :meth:`search`, read as fast as files land. The
        same call again goes on where it was: what is there is not fetched again. ``progress`` is called with the
        report after each recording. What breaks the run itself (the search, the disk) is raised when the downloads
        under way have ended.
        """
        options = _Options(format, convert, send_token, max_size)
        if max_concurrency < 1:
            raise SettingsError(f"max_concurrency is a whole number from 1, not {max_concurrency!r}")
        target = Folder(Path(folder))
        try:
            await in_thread(target.open)
            async with aclosing(_each(recordings)) as source:
                run = _Run(source, progress)
                async with anyio.create_task_group() as group:
                    for _ in range(max_concurrency):
                        group.start_soon(run.work, lambda recording: self._download(recording, target, options))
        finally:
            target.close()
        if run.broken is not None:
            raise run.broken
        return run.report

    async def _download(self, recording: Recording, folder: Folder, options: _Options) -> Downloaded:
        try:
            return await self._fetch(recording, folder, formats_of(options.wanted), options)
        except NotFound:
            if options.wanted != "mp3" or not options.convert:
                raise
        await self._find(recording, ("gsm",), send_token=options.send_token)
        try:
            await self.convert(guid=recording.guid, folder=recording.day)
        except NotFound as error:
            raise Refused("there is only a gsm, and this server does not convert (HTTP 404)", status=404) from error
        return await self._fetch(recording, folder, ("mp3",), options)

    async def _fetch(
        self, recording: Recording, folder: Folder, formats: Sequence[Format], options: _Options
    ) -> Downloaded:
        names = {format_: f"{check_guid(recording.guid)}.{format_}" for format_ in formats}
        sizes = await in_thread(lambda: {format_: folder.size_of(name) for format_, name in names.items()})
        if any(size is not None for size in sizes.values()):
            place = await self._find(recording, formats, send_token=options.send_token)
            size, name = sizes[place.format], names[place.format]
            if size is not None and place.size is not None:
                return _known(folder, name, place.format, size, place.size)

        async def save(candidate: Candidate, authorization: Secret | None) -> Downloaded:
            name, stall = names[candidate.format], self._http.settings.timeout
            async with self._downloads.open(candidate.url, stall=stall, authorization=authorization) as download:
                size = await _land(download, Arrival(folder, name), options.max_size)
            if size is not None:
                return Downloaded(folder.path / name, size, candidate.format)
            there = await in_thread(folder.size_of, name)
            return _known(folder, name, candidate.format, there, download.size)

        return await self._walk(recording, formats, save, send_token=options.send_token)

    async def _find(self, recording: Recording, formats: Sequence[Format], *, send_token: bool) -> Place:
        async def look(candidate: Candidate, authorization: Secret | None) -> Place:
            stall = self._http.settings.timeout
            try:
                head = self._downloads.open(candidate.url, stall=stall, method="HEAD", authorization=authorization)
                async with head as download:
                    return Place(candidate.url, candidate.format, download.length)
            except (Refused, ServerFault) as error:
                if error.status not in (405, 501):
                    raise
            async with self._downloads.open(candidate.url, stall=stall, authorization=authorization) as download:
                return Place(candidate.url, candidate.format, download.length)

        return await self._walk(recording, formats, look, send_token=send_token)

    async def _walk(self, recording: Recording, formats: Sequence[Format], visit: Visit[T], *, send_token: bool) -> T:
        """Return what ``visit`` does at the first place where it finds something; walk again as the rule allows."""
        check_guid(recording.guid)
        http, scheme, wait = self._http, self._http.settings.token_scheme, self._http.settings.wait
        token: Token | None = None
        refused: Token | None = None
        tries = 0
        while True:
            tries += 1
            if send_token and token is refused:
                token = await http.token(refused, wait)
            authorization = None if token is None else Secret(f"{scheme} {token.value.reveal()}")
            try:
                return await self._walk_once(recording, formats, visit, authorization)
            except UContactError as error:
                error.attempts = tries
                pause = http.retry.pause(error, tries, Safety.READ)
                if isinstance(error, Unauthorized) and token is not None and refused is None:
                    refused, pause = token, 0.0
                if pause is None or pause > wait:
                    raise
            await asyncio.sleep(pause)

    async def _walk_once(
        self, recording: Recording, formats: Sequence[Format], visit: Visit[T], authorization: Secret | None
    ) -> T:
        failures: dict[str, UContactError] = {}
        for candidate in self._places.of(recording, formats):
            if candidate.host in failures:
                continue
            try:
                found = await visit(candidate, authorization)
            except NotFound:
                continue
            except UContactError as error:
                failures[candidate.host] = error  # its backup may have the file
            else:
                self._places.found(candidate)
                return found
        # Missing is said only when every place was asked.
        if failures:
            raise next(iter(failures.values()))
        raise NotFound(f"{recording.guid} is in none of the places for {' or '.join(formats)}", status=404)


class _Run:
    """Many downloads from one source."""

    def __init__(self, source: AsyncIterator[Recording], progress: Callable[[DownloadReport], None] | None) -> None:
        self.report = DownloadReport()
        self.broken: Exception | None = None
        self._source = source
        self._progress = progress
        self._turn = asyncio.Lock()
        self._ended = False

    async def work(self, download: Callable[[Recording], Awaitable[Downloaded]]) -> None:
        """Take one recording after the other until there is none, or something breaks."""
        try:
            while (recording := await self._next()) is not None:
                await self._one(recording, download)
                if self._progress is not None:
                    self._progress(self.report)
        except Exception as error:  # noqa: BLE001  raised when the others have ended
            self.broken = self.broken or error

    async def _next(self) -> Recording | None:
        async with self._turn:
            if self._ended or self.broken is not None:
                return None
            recording = await anext(self._source, None)
            self._ended = recording is None
            return recording

    async def _one(self, recording: Recording, download: Callable[[Recording], Awaitable[Downloaded]]) -> None:
        try:
            self.report.landed(await download(recording))
        except (UContactError, FileExistsError) as error:
            self.report.lacking(recording, error, missing=isinstance(error, NotFound))
        except OSError as error:
            self.report.lacking(recording, error, missing=False)
            raise


async def _each(recordings: Iterable[Recording] | AsyncIterable[Recording]) -> AsyncGenerator[Recording, None]:
    if isinstance(recordings, AsyncIterable):
        async for recording in recordings:
            yield recording
    else:
        for recording in recordings:
            yield recording


def _known(folder: Folder, name: str, format_: Format, size: int | None, expected: int) -> Downloaded:
    """Return that the file is there already; ``FileExistsError`` if it is another."""
    if size != expected:
        raise folder.taken(name)
    return Downloaded(folder.path / name, expected, format_, already=True)


async def _land(download: Download, arrival: Arrival, limit: int) -> int | None:
    """Write a file as it comes and keep it once it is whole; ``None`` if its name was taken meanwhile."""
    block = bytearray()
    try:
        await in_thread(arrival.open)
        while piece := await download.read(limit):
            block += piece
            if len(block) >= _BLOCK:
                await in_thread(arrival.write, bytes(block))
                block.clear()
        if download.length not in (None, download.size):
            raise ReplyLost("the file is not as long as was announced", phase="answered")
        await in_thread(arrival.write, bytes(block))
        await in_thread(arrival.keep)
    except FileExistsError:
        return None
    finally:
        await in_thread(arrival.discard)
    return download.size
