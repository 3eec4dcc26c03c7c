"""`promgres export`: raw samples of a period, from the read side into a file or a pipe."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

import aiohttp
import click
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from ingest.cli.remote import with_read_side
from ingest.errors import OperatorError

FORMATS = ("csv", "ndjson", "parquet")
CONNECT_SECONDS, SILENCE_SECONDS = 30.0, 120.0
"""Finding the series may take its time; then there is something to read every moment."""
PIECE_BYTES = 256 * 1024


@click.command("export")
@click.argument("metric", required=False)
@click.option("--match", "matches", multiple=True, metavar="SELECTOR",
              help="""series that meet {job="x"}; of several, one of them""")  # fmt: skip
@click.option("--from", "since", metavar="TIME", help="at or after; unset: an hour before --to")
@click.option("--to", "until", metavar="TIME", help="before; unset: now")
@click.option("--format", "form", type=click.Choice(FORMATS),
              help="unset: as the name of --output ends, else csv")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False),
              help="file, which is there once it is complete; unset: standard output")  # fmt: skip
@with_read_side
def command(
    url: str,
    key: str | None,
    metric: str | None,
    matches: Sequence[str],
    since: str | None,
    until: str | None,
    form: str | None,
    output: Path | None,
) -> None:
    """Raw samples of a metric, oldest first, with their exact values and labels.

    TIME is 2030-01-31, 2030-01-31T12:00:00Z, or a number of seconds since 1970.
    """
    if form is None:
        suffix = output.suffix[1:].lower() if output else ""
        form = suffix if suffix in FORMATS else FORMATS[0]
    if output is None and form == "parquet" and sys.stdout.isatty():
        raise OperatorError("--format parquet: a terminal cannot show it; name a file (--output)")
    query = [("format", form), *[("match", each) for each in matches]]
    given = {"metric": metric, "from": since, "to": until}
    query += [(name, text) for name, text in given.items() if text is not None]
    if output is None:
        asyncio.run(_export(url, key, query, sys.stdout.buffer, None))
        return
    columns = (TextColumn("{task.description}"), DownloadColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with (
        _complete(output) as file,
        Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress,
    ):
        asyncio.run(_export(url, key, query, file, progress))


async def _export(
    url: str, key: str | None, query: Sequence[tuple[str, str]], file: BinaryIO,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Raises OperatorError: the server refuses, or ends before the export does."""
    task = progress.add_task("exported", total=None) if progress else None
    async with _answer(url, key, query) as answer:
        async for piece in answer.content.iter_chunked(PIECE_BYTES):
            file.write(piece)
            if progress is not None and task is not None:
                progress.update(task, advance=len(piece))
    file.flush()


@asynccontextmanager
async def _answer(
    url: str, key: str | None, query: Sequence[tuple[str, str]]
) -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS, total=None)
    where = f"{url.rstrip('/')}/export"
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.get(where, params=query) as answer,
        ):
            if answer.status != 200:
                raise OperatorError(f"{url}: {_reason(answer.status, await answer.read())}")
            yield answer
    except aiohttp.ClientPayloadError:
        raise OperatorError(
            f"{url}: the server ended the export before it was complete; its log says why"
        ) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OperatorError(f"{url}: {error or type(error).__name__}") from None


def _reason(status: int, body: bytes) -> str:
    try:
        document = json.loads(body)
        return " ".join(filter(None, (document["message"], document["details"])))
    except (ValueError, KeyError, TypeError):
        return f"the answer is {status}; is this the read side?"


@contextmanager
def _complete(output: Path) -> Iterator[BinaryIO]:
    """A file that has its name once it is whole.

    Raises:
        OperatorError: it cannot be written.
    """
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(output)
    except OSError as error:
        raise OperatorError(f"{error.filename or output}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
