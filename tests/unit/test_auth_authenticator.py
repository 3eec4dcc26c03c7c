"""The authenticator: whose request it is, what it may do, and what is kept of a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from ingest.auth import authenticator as authenticator_module
from ingest.auth import directory as directory_module
from ingest.auth.audit import Audit
from ingest.auth.authenticator import Authenticator
from ingest.auth.directory import Directory
from ingest.auth.metrics import REFUSED
from ingest.auth.usage import KeyUse
from ingest.config import AuthSettings
from ingest.errors import KeyRefused
from tests.support.keys import KEY, KEY_ID, SECRET, FakeStore, basic, bearer, stored
from tests.support.metrics import gauge

PROXY, CLIENT = "10.1.2.3", "192.0.2.7"


class House:
    """A authenticator with all that is behind it."""

    def __init__(self, store: FakeStore, **settings: Any) -> None:
        self.store = store
        self.audit = Audit(store)
        self.usage = KeyUse(store)
        self.directory = Directory(store)
        self.authenticator = Authenticator(
            self.directory, self.audit, self.usage, AuthSettings(**settings)
        )

    async def admit(
        self, headers: Any, scope: str = "write", address: str = CLIENT
    ) -> tuple[str, str | None]:
        """Tenant and key id."""
        access = await self.authenticator.admit(headers, address, scope)
        assert self.directory.name_of(access.tenant_id) == access.tenant
        return access.tenant, access.key_id

    async def refusal(
        self, headers: Any, scope: str = "write", address: str = CLIENT
    ) -> tuple[int, str]:
        """Status and reason."""
        with pytest.raises(KeyRefused) as refused:
            await self.authenticator.admit(headers, address, scope)
        assert SECRET not in str(refused.value)
        return refused.value.status, refused.value.reason

    async def recorded(self) -> list[dict[str, Any]]:
        """The rows that the audit gets."""
        await self.audit.write(everything=True)
        return self.store.refusals


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "PAUSE_SECONDS", 0.0)


def house(*scopes: str, **settings: Any) -> House:
    key = stored(scopes=frozenset(scopes or ("read", "write")))
    return House(FakeStore([key]), **settings)


async def test_without_a_key_a_request_is_of_default() -> None:
    for scope in ("read", "write"):
        assert await house().admit({}, scope) == ("default", None)
    assert await house().refusal({}, "admin") == (403, "scope")


async def test_a_key_names_its_tenant() -> None:
    ours = house()
    for headers in (bearer(KEY), {"X-API-Key": KEY}, {"Authorization": f"Basic {basic('', KEY)}"}):
        assert await ours.admit(headers) == ("acme", KEY_ID)
    await ours.usage.write()
    assert ours.store.used == [[KEY_ID]]


async def test_where_keys_are_required() -> None:
    ours = house(required=True)
    assert await ours.admit(bearer(KEY)) == ("acme", KEY_ID)
    assert await ours.refusal({}) == (401, "missing")


async def test_scopes() -> None:
    assert await house("read").refusal(bearer(KEY), "write") == (403, "scope")
    assert await house("read").admit(bearer(KEY), "read") == ("acme", KEY_ID)
    assert await house("write").refusal(bearer(KEY), "read") == (403, "scope")
    assert await house("admin").admit(bearer(KEY), "write") == ("acme", KEY_ID)


async def test_bad_keys_are_refused_where_none_is_required() -> None:
    ours = house()
    assert await ours.refusal(bearer(KEY[:-3] + "aaa")) == (401, "unknown")
    assert await ours.refusal({"X-API-Key": "a-wiWimWyilf"}) == (401, "malformed")
    assert await ours.refusal({"X-API-Key": ""}) == (401, "malformed")
    assert await ours.refusal(bearer("a.b.c")) == (401, "token")
    assert await ours.refusal(bearer("abc")) == (401, "malformed")
    assert await ours.refusal({"Authorization": "Negotiate abc"}) == (401, "scheme")


async def test_a_header_that_comes_twice_does_not_hide_another_key() -> None:
    other = KEY[:-3] + "aaa"
    headers = CIMultiDict([("X-API-Key", KEY), ("x-api-key", other)])
    assert await house().refusal(headers) == (401, "several")
    twice = CIMultiDict([("X-API-Key", KEY), ("x-api-key", KEY)])
    assert await house().admit(twice) == ("acme", KEY_ID)


async def test_refusals_say_whether_the_sender_is_an_older_one() -> None:
    for headers in ({"X-PMETRICS-API-KEY": "bad"}, {"X-PMETRICS-API-KEY": KEY}):
        with pytest.raises(KeyRefused) as refused:
            await house("read").authenticator.admit(headers, CLIENT, "write")
        assert refused.value.is_legacy
    with pytest.raises(KeyRefused) as refused:
        await house().authenticator.admit({"X-API-Key": "bad"}, CLIENT, "write")
    assert not refused.value.is_legacy


async def test_a_trusted_proxy_names_the_tenant() -> None:
    ours = house(trusted_proxies=["10.0.0.0/8"], required=True)
    org = {"X-Scope-OrgID": "acme"}
    assert await ours.admit(org, address=PROXY) == ("acme", None)
    assert await ours.admit(org, address=f"::ffff:{PROXY}") == ("acme", None)
    assert await ours.refusal({}, address=PROXY) == (401, "missing")
    assert await ours.refusal({"X-Scope-OrgID": "none"}, address=PROXY) == (401, "tenant")
    assert await ours.refusal(org, address=CLIENT) == (401, "missing")
    assert await ours.refusal(org, "admin", address=PROXY) == (403, "scope")


async def test_a_key_goes_before_what_a_proxy_says() -> None:
    ours = house(trusted_proxies=["10.0.0.0/8"])
    headers = {"X-Scope-OrgID": "default", **bearer(KEY)}
    assert await ours.admit(headers, address=PROXY) == ("acme", KEY_ID)


async def test_a_tenant_from_elsewhere_is_ignored_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warned = []
    monkeypatch.setattr(
        authenticator_module.log, "warning", lambda text, **more: warned.append(more)
    )
    ours = house()
    for address in (CLIENT, CLIENT, "192.0.2.8"):
        assert await ours.admit({"X-Scope-OrgID": "acme"}, address=address) == ("default", None)
    assert warned == [{"address": CLIENT}, {"address": "192.0.2.8"}]


async def test_what_is_recorded_of_a_refusal() -> None:
    ours = house("read")
    before = gauge(REFUSED.labels("scope"))
    await ours.refusal(bearer(KEY))
    await ours.refusal({"X-API-Key": KEY})
    assert gauge(REFUSED.labels("scope")) == before + 2
    await ours.refusal(bearer(KEY[:-3] + "aaa"))
    await ours.refusal({"X-API-Key": f"no key {SECRET}"})
    rows = await ours.recorded()
    assert all(row["address"] == CLIENT for row in rows)
    seen = {(row["details"]["reason"], row["key_id"], row["tenant_id"]) for row in rows}
    expected = {("scope", KEY_ID, 2), ("unknown", KEY_ID, None), ("malformed", None, None)}
    assert seen == expected
    assert sum(row["times"] for row in rows) == 4
    assert SECRET not in str(rows)


@pytest.mark.parametrize(
    ("forwarded", "address", "recorded"),
    [
        ("203.0.113.9", CLIENT, CLIENT),
        ("203.0.113.9", PROXY, "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.9.9.9", PROXY, "203.0.113.9"),
        ("203.0.113.9:4711", PROXY, "203.0.113.9"),
        ("[2001:db8::1]:4711", PROXY, "2001:db8::1"),
        ("10.9.9.9", PROXY, "10.9.9.9"),
        ("203.0.113.9, <script>", PROXY, PROXY),
        ("", PROXY, PROXY),
    ],
)
async def test_the_address_of_a_refusal(forwarded: str, address: str, recorded: str) -> None:
    ours = house(trusted_proxies=["10.0.0.0/8"])
    await ours.refusal({"X-API-Key": "bad", "X-Forwarded-For": forwarded}, address=address)
    assert [row["address"] for row in await ours.recorded()] == [recorded]


async def test_whose_metrics_are_shown() -> None:
    async def shown(ours: House, headers: dict[str, str], address: str = CLIENT) -> list[str]:
        sees = await ours.authenticator.sees(headers, address)
        return [name for name in ("default", "acme", "other") if sees(name)]

    everybody = ["default", "acme", "other"]
    assert await shown(house(), {}) == everybody
    assert await shown(house(required=True), {}) == []
    assert await shown(house("write"), bearer(KEY)) == ["acme"]
    assert await shown(house("admin"), bearer(KEY)) == ["acme"]
    chief = stored(tenant_id=1, scopes=frozenset({"admin"}))
    assert await shown(House(FakeStore([chief])), bearer(KEY)) == everybody
    ours = house(trusted_proxies=["10.0.0.0/8"])
    assert await shown(ours, {"X-Scope-OrgID": "acme"}, PROXY) == ["acme"]
    with pytest.raises(KeyRefused):
        await shown(house(), {"X-API-Key": "bad"})
