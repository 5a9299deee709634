"""Keys, sessions and login tokens, without a socket."""

from __future__ import annotations

import re

import pytest

from jobqueue.errors import Denied, InvalidInput, Unavailable
from jobqueue.server.auth import LOGIN_TTL_S, SESSION_TTL_S, Access, mint_api_key
from jobqueue.server.context import Caller
from tests.unit.server_support import MemoryRecords


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_minted_key_opens_its_tenant_and_only_its_hash_is_kept() -> None:
    records = MemoryRecords()
    key = await mint_api_key(records, "acme", "scanner in the hall")
    assert re.fullmatch(r"jq_[A-Za-z0-9_-]{43}", key)
    [record] = records.committed.keys.values()
    assert key not in repr(records.committed)
    assert key[3:] not in repr(records.committed)
    who = await Access(records).by_key(key)
    assert who == Caller(tenant_id="acme", key_id=record.id, via="key")


async def test_a_key_has_the_role_it_was_made_with_and_so_have_its_sessions() -> None:
    records = MemoryRecords()
    access = Access(records)
    key = await mint_api_key(records, "acme", "ours", "operator")
    who = await access.by_key(key)
    assert who.role == "operator"
    assert (await access.by_key(await mint_api_key(records, "acme", "theirs"))).role == "member"
    secret, opened = access.open_session(access.login_token(who.key_id, who.tenant_id, who.role))
    assert opened.role == access.by_session(secret).role == "operator"
    assert [entry.detail for entry in records.committed.entries] == [{"role": "operator"}, {"role": "member"}]


async def test_minting_a_key_is_audited_by_its_id() -> None:
    records = MemoryRecords()
    await mint_api_key(records, "acme", "scanner")
    [key_id] = records.committed.keys
    [entry] = records.committed.entries
    assert (entry.action, entry.subject, entry.tenant_id) == ("api_key.mint", key_id, "acme")


@pytest.mark.parametrize("tenant_id", ["", "..", "a/b", "a b", "-a", "a" * 65, "ä"])
async def test_a_tenant_that_can_not_lead_a_storage_key_gets_no_api_key(tenant_id: str) -> None:
    with pytest.raises(InvalidInput, match="tenant"):
        await mint_api_key(MemoryRecords(), tenant_id, "name")


@pytest.mark.parametrize("name", ["", "a" * 101, "a\nb"])
async def test_an_api_key_needs_a_printable_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        await mint_api_key(MemoryRecords(), "acme", name)


@pytest.mark.parametrize("key", ["", "jq_", "jq_" + "a" * 42, "jq_" + "a" * 43, "jq_" + "a" * 1_000_000, "jq_\ud800"])
async def test_what_is_no_key_is_denied(key: str) -> None:
    with pytest.raises(Denied, match="not valid"):
        await Access(MemoryRecords()).by_key(key)


async def test_a_database_that_is_away_is_not_a_denial() -> None:
    records = MemoryRecords()
    key = await mint_api_key(records, "acme", "scanner")
    records.down = True
    with pytest.raises(Unavailable):
        await Access(records).by_key(key)


def test_a_login_token_opens_one_session_once() -> None:
    access = Access(MemoryRecords())
    token = access.login_token("key-1", "acme")
    secret, who = access.open_session(token)
    assert who == access.by_session(secret) == Caller(tenant_id="acme", key_id="key-1", via="session")
    with pytest.raises(Denied, match="used already"):
        access.open_session(token)


def test_a_login_token_is_no_session_and_a_session_no_login_token() -> None:
    access = Access(MemoryRecords())
    token = access.login_token("key-1", "acme")
    with pytest.raises(Denied):
        access.by_session(token)
    secret, _ = access.open_session(token)
    with pytest.raises(Denied):
        access.open_session(secret)


def test_login_tokens_and_sessions_end_in_time() -> None:
    clock = Clock()
    access = Access(MemoryRecords(), clock=clock)
    late = access.login_token("key-1", "acme")
    secret, _ = access.open_session(access.login_token("key-1", "acme"))
    clock.now += LOGIN_TTL_S
    with pytest.raises(Denied):
        access.open_session(late)
    clock.now += SESSION_TTL_S - LOGIN_TTL_S - 1
    assert access.by_session(secret).tenant_id == "acme"
    clock.now += 1
    with pytest.raises(Denied, match="ended"):
        access.by_session(secret)


def test_sessions_are_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.server.auth._MAX_TICKETS", 2)
    access = Access(MemoryRecords())
    secrets = [access.open_session(access.login_token(f"key-{n}", "acme"))[0] for n in range(3)]
    with pytest.raises(Denied):
        access.by_session(secrets[0])
    assert [access.by_session(secret).key_id for secret in secrets[1:]] == ["key-1", "key-2"]
