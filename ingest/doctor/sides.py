"""The two HTTP sides as they answer now, and whether the write side's accounts add up."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from ingest.config.addresses import is_loopback, reachable_address, split_address
from ingest.doctor.case import Site
from ingest.doctor.finding import Finding, ok, problem, warning
from ingest.doctor.words import count
from ingest.writer.spool.file import FOLDER

WRITE_SIDE, READ_SIDE, ACCOUNTS, OPEN = "write side", "read side", "accounts", "open doors"

OPERATORS_KEY = (
    "PROMGRES_KEY=$(promgres key create default --scope admin) shows it the accounts of all tenants"
)
ANSWER_SECONDS = 5.0
LOOKS = 3
DECIDED = ("written", "duplicate", "rejected", "dropped", "unavailable")

Accounts = dict[str, dict[str, int]]
"""By tenant, then by what became of the samples."""


@dataclass(frozen=True)
class Answer:
    """What a GET brought; status 0 when nobody answers."""

    status: int
    text: str


def get(address: str, path: str, key: str | None = None) -> Answer:
    """Ask a server on this machine; `address` is where it listens."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    host, port = split_address(reachable_address(address))
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Answer(0, reason.lower())
    finally:
        connection.close()


def check_write_side(site: Site) -> list[Finding]:
    """Whether the write side is there and ready."""
    ready = get(site.settings.listen, "/-/ready")
    start = site.prescribe.promgres("up" if site.prescribe.embedded else "ingest")
    if ready.status == 0 and not _lives_here(site):
        what = f"none at {site.settings.listen}: {ready.text}"
        return [warning(WRITE_SIDE, what, f"if it runs elsewhere, ask there; else {start}")]
    return [
        _check_side(WRITE_SIDE, site.settings.listen, ready, f"{start}, or name it with --listen")
    ]


def check_read_side(site: Site) -> list[Finding]:
    """Whether the read side is there and ready."""
    ready = get(site.settings.api_listen, "/-/ready")
    start = site.prescribe.promgres("up" if site.prescribe.embedded else "api")
    if ready.status == 0 and not site.prescribe.embedded:
        what = f"none at {site.settings.api_listen}: {ready.text}"
        return [warning(READ_SIDE, what, f"if it runs elsewhere, ask there; else {start}")]
    todo = f"{start}, or name it with --api-listen"
    return [_check_side(READ_SIDE, site.settings.api_listen, ready, todo)]


def _check_side(check: str, address: str, ready: Answer, start: str) -> Finding:
    if ready.status == 0:
        return problem(check, f"does not answer at {address}: {ready.text}", start)
    if ready.status == 503:
        what = f"not ready at {address}: {' '.join(ready.text.split())}"
        return problem(check, what, "see database above, and the log of the process")
    if ready.status != 200:
        what = f"something else answers at {address} (status {ready.status})"
        return problem(check, what, f"find out what it is: curl -i http://{address}/-/ready")
    return ok(check, f"ready at {address}")[0]


def _lives_here(site: Site) -> bool:
    """Whether this is the write side's machine: `up` runs the database, or its spool is here."""
    try:
        return site.prescribe.embedded or (site.settings.data_dir.expanduser() / FOLDER).exists()
    except PermissionError:
        return True


def check_accounts(site: Site) -> list[Finding]:
    """Whether every sample that the write side received is accounted for, tenant by tenant."""
    for _ in range(LOOKS):
        metrics = get(site.settings.listen, "/metrics", site.key)
        if metrics.status == 401:
            return [warning(ACCOUNTS, "cannot be looked at: the key is refused", OPERATORS_KEY)]
        if metrics.status != 200:
            return []  # `check_write_side` says why
        accounts = _accounts(metrics.text)
        lost = {name: _missing(one) for name, one in accounts.items() if _missing(one)}
        if not lost:
            break
    if not accounts:
        hidden = "cannot be looked at: tenants are shown to the operator only"
        is_hidden = site.settings.auth.required and "promgres_" in metrics.text
        return [warning(ACCOUNTS, hidden, OPERATORS_KEY)] if is_hidden else []
    if lost:
        what = ", ".join(
            f"{count(accounts[name]['received'], 'sample')} received for tenant {name},"
            f" {missing:,} more than are accounted for"
            for name, missing in lost.items()
        )
        todo = f"report it with the output of: curl http://{site.settings.listen}/metrics"
        return [problem(ACCOUNTS, what, todo)]
    received = sum(one["received"] for one in accounts.values())
    unavailable = sum(one["unavailable"] for one in accounts.values())
    what = f"{count(received, 'sample')} since its start, {unavailable:,} unavailable"
    return ok(ACCOUNTS, f"add up: {what}")


def _missing(account: dict[str, int]) -> int:
    parts = sum(account.get(part, 0) for part in (*DECIDED, "in flight", "spooled"))
    return account.get("received", 0) - parts


def _accounts(text: str) -> Accounts:
    accounts: Accounts = {}
    for tenant, what, number in _account_lines(text):
        accounts.setdefault(tenant, dict.fromkeys(("received", *DECIDED), 0))[what] = number
    return accounts


def _account_lines(text: str) -> Iterator[tuple[str, str, int]]:
    gauges = {"promgres_samples_in_flight": "in flight", "promgres_samples_spooled": "spooled"}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                tenant = sample.labels.get("tenant", "")
                if sample.name == "promgres_samples_total":
                    yield tenant, sample.labels["result"], int(sample.value)
                elif sample.name in gauges:
                    yield tenant, gauges[sample.name], int(sample.value)
    except (ValueError, KeyError):
        return  # not ours


def check_open_doors(site: Site) -> list[Finding]:
    """Whether strangers can write, or read a key on its way."""
    doors = ", ".join(door for door in _doors(site) if not is_loopback(door))
    if not doors:
        return ok(OPEN, "only this machine can write")
    if site.settings.auth.required:
        return ok(
            OPEN, f"a key is needed at {doors}; keys travel as they are: see that TLS is in front"
        )
    what = f"whoever reaches {doors} can write: nobody is asked who he is"
    todo = "PROMGRES_AUTH__REQUIRED=true, --listen 127.0.0.1:9273 (PROMGRES_LISTEN), or a firewall"
    return [warning(OPEN, what, f"{todo} that lets only senders in")]


def _doors(site: Site) -> list[str]:
    """Where requests are taken that write: the read side hands measures and events on."""
    settings = site.settings
    hands_on = site.prescribe.embedded or settings.api.write_url
    return [settings.listen, *([settings.api_listen] if hands_on else [])]
