"""One request while it is being answered."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

UNKNOWN = "unknown"
"""What metrics call everything that is neither a page nor a function of ours."""


@dataclass(slots=True)
class Context:
    """A request, and what is found out about it on the way.

    Attributes:
        path: as it was sent, still percent-encoded.
        function: the function or page that it turned out to be for; a name that clients made up
            never gets here, or metrics would grow by it.
    """

    request: web.BaseRequest
    method: str
    path: str
    function: str = UNKNOWN

    def header(self, name: str) -> str | None:
        """A header of the request."""
        return self.request.headers.get(name)
