"""The directory of keys: what is judged from memory, and when the database is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ingest.auth import directory as module
from ingest.auth.directory import Directory
from ingest.auth.keys import PresentedKey, StoredKey
from ingest.errors import KeyRefused, Unavailable
from ingest.model import TenantLimits
from tests.support.keys import KEY_ID, SECRET, FakeStore, stored

PRESENTED = PresentedKey(KEY_ID, SECRET)
WRONG = PresentedKey(KEY_ID, SECRET[::-1])
STRANGE = PresentedKey("zzzzzzzzzzzz", SECRET)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


async def known(store: FakeStore, now: float = 1000.0) -> Directory:
    directory = Directory(store, lambda: now)
    await directory.look(0)
    return directory


async def refusal(directory: Directory, presented: PresentedKey) -> KeyRefused:
    with pytest.raises(KeyRefused) as refused:
        await directory.key(presented)
    return refused.value


async def test_a_known_key_asks_nobody() -> None:
    store = FakeStore([stored()])
    directory = await known(store)
    store.is_away = True
    assert (await directory.key(PRESENTED)).tenant_id == 2
    assert store.looks == 1


async def test_an_unchanged_version_is_not_read_again() -> None:
    store = FakeStore([stored()])
    directory = await known(store)
    await directory.look(float("inf"))
    assert (store.looks, store.reads) == (2, 1)


async def test_a_key_that_was_made_a_moment_ago_works_at_once() -> None:
    store = FakeStore()
    directory = await known(store)
    store.change(stored())
    assert (await directory.key(PRESENTED)).key_id == KEY_ID


@pytest.mark.parametrize("presented", [WRONG, STRANGE])
async def test_a_wrong_one_is_refused_after_one_look(presented: PresentedKey) -> None:
    store = FakeStore([stored()])
    directory = await known(store)
    error = await refusal(directory, presented)
    assert (error.reason, error.key_id, error.tenant_id) == ("unknown", presented.key_id, None)
    assert store.looks == 2
    assert SECRET not in str(error)


async def test_a_wrong_one_is_not_judged_while_the_database_is_away() -> None:
    store = FakeStore([stored()])
    directory = await known(store)
    store.is_away = True
    for presented in (WRONG, STRANGE):
        with pytest.raises(Unavailable):
            await directory.key(presented)
    store.is_away = False
    assert (await refusal(directory, STRANGE)).reason == "unknown"


@pytest.mark.parametrize(
    ("key", "reason"),
    [(stored(is_revoked=True), "revoked"), (stored(expires_at=1000.0), "expired")],
)
async def test_old_keys_are_refused_even_without_the_database(key: StoredKey, reason: str) -> None:
    store = FakeStore([key])
    directory = await known(store)
    store.is_away = True
    error = await refusal(directory, PRESENTED)
    assert (error.reason, error.tenant_id) == (reason, 2)


async def test_what_is_wrong_with_a_key_is_told_to_its_holder_only() -> None:
    directory = await known(FakeStore([stored(is_revoked=True)]))
    assert (await refusal(directory, WRONG)).reason == "unknown"


async def test_a_key_expires_by_the_clock() -> None:
    assert await (await known(FakeStore([stored(expires_at=1000.5)]))).key(PRESENTED)


async def test_all_who_wait_share_one_look() -> None:
    store = FakeStore([stored()])
    directory = await known(store)
    answers = await asyncio.gather(
        *(directory.key(STRANGE) for _ in range(50)), return_exceptions=True
    )
    assert all(isinstance(answer, KeyRefused) for answer in answers)
    assert store.looks == 2


async def test_a_look_that_began_before_the_question_is_not_enough() -> None:
    store = FakeStore()
    directory = await known(store)
    in_the_middle, go_on = asyncio.Event(), asyncio.Event()
    version = store.directory_version

    async def slow() -> int:
        number = await version()
        in_the_middle.set()
        await go_on.wait()
        return number

    store.directory_version = slow  # type: ignore[method-assign]
    first = asyncio.create_task(directory.look(float("inf")))
    await in_the_middle.wait()
    store.change(stored())
    asked = asyncio.create_task(directory.key(PRESENTED))
    go_on.set()
    await first
    assert (await asked).key_id == KEY_ID


async def test_a_look_that_was_cancelled_is_none() -> None:
    store = FakeStore()
    directory = await known(store)
    version, in_the_middle = store.directory_version, asyncio.Event()

    async def stuck() -> int:
        in_the_middle.set()
        await asyncio.Event().wait()
        raise AssertionError

    store.directory_version = stuck  # type: ignore[method-assign]
    since = asyncio.get_running_loop().time()
    impatient = asyncio.create_task(directory.look(since))
    await in_the_middle.wait()
    store.change(stored())
    store.directory_version = version  # type: ignore[method-assign]
    patient = asyncio.create_task(directory.look(since))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    store.is_away = True
    assert await directory.key(PRESENTED)


async def test_looks_keep_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 3600.0)
    store = FakeStore([stored()])
    directory = await known(store)
    guess = asyncio.create_task(directory.key(STRANGE))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.looks == 1
    assert await directory.key(PRESENTED)  # those with a good key do not wait for it
    guess.cancel()


async def test_all_is_read_again_after_the_database_was_away() -> None:
    store = FakeStore([stored()])
    directory = await known(store)
    store.is_away = True
    with pytest.raises(Unavailable):
        await directory.look(float("inf"))
    store.is_away = False
    store.keys = [replace(stored(), is_revoked=True)]  # a backup may have the same version
    await directory.look(float("inf"))
    assert (await refusal(directory, PRESENTED)).reason == "revoked"


async def test_a_document_that_cannot_be_read_leaves_what_was_known() -> None:
    store = FakeStore([stored()])
    directory = await known(store)
    store.change(stored())

    async def nonsense() -> str:
        return "{}"

    store.key_directory = nonsense  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await directory.look(float("inf"))
    assert await directory.key(PRESENTED)


async def test_names_and_limits() -> None:
    store = FakeStore(limits={2: {"series": 5, "spool_share": 0.5}})
    directory = Directory(store)
    assert directory.name_of(1) == "default"
    await directory.look(0)
    assert (directory.name_of(2), directory.name_of(99)) == ("acme", "99")
    assert directory.limits_of(2) == TenantLimits(series=5, spool_share=0.5)
    assert directory.limits_of(1) == directory.limits_of(99) == TenantLimits()


async def test_tenants_by_name() -> None:
    store = FakeStore()
    directory = await known(store)
    assert (await directory.tenant_named("acme")).tenant_id == 2
    store.tenants[3] = "new"
    store.change()
    assert (await directory.tenant_named("new")).tenant_id == 3
    with pytest.raises(KeyRefused) as refused:
        await directory.tenant_named("none")
    assert refused.value.reason == "tenant"


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_every_wrong_one_costs_the_same(
    monkeypatch: pytest.MonkeyPatch, is_revoked: bool
) -> None:
    """So many digests, each compared whole, and so many looks: whatever is wrong with the key."""
    done: list[int] = []

    def counted(self: StoredKey, secret: str) -> bool:
        done.append(len(secret) + len(self.salt) + len(self.hash))
        return proves(self, secret)

    proves = StoredKey.is_proved_by
    monkeypatch.setattr(StoredKey, "is_proved_by", counted)
    costs = set()
    for presented in (
        WRONG,
        PresentedKey(KEY_ID, SECRET[:-1] + "0"),
        PresentedKey(KEY_ID, "0" + SECRET[1:-1] + "0"),
        STRANGE,
    ):
        store = FakeStore([stored(is_revoked=is_revoked)])
        directory = await known(store)
        done.clear()
        error = await refusal(directory, presented)
        assert error.reason == "unknown"
        costs.add((tuple(done), store.looks, store.reads))
    assert len(costs) == 1
