import hashlib
import re

import pytest

from visage.access.keys import Key, Scope, digest_of, new_secret, rate_of, scopes_of
from visage.errors import ConfigurationError


def key(*scopes: Scope, collections: tuple[str, ...] = ()) -> Key:
    return Key("k1", "desk", b"", frozenset(scopes), frozenset(collections), 0, 1.0)


def test_a_secret_is_a_prefix_and_256_random_bits() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch(r"vk_[\w-]{43}", secret) for secret in secrets)


def test_what_is_stored_is_the_sha256_of_the_secret() -> None:
    assert digest_of("vk_a") == hashlib.sha256(b"vk_a").digest()
    assert len(digest_of("\ud800 whatever a header may hold")) == 32


def test_admin_holds_the_other_scopes_which_do_not_hold_each_other() -> None:
    assert [key("admin").may(scope) for scope in ("read", "write", "admin")] == [True, True, True]
    assert [key("write").may(scope) for scope in ("read", "write", "admin")] == [False, True, False]
    assert [key("read").may(scope) for scope in ("read", "write", "admin")] == [True, False, False]


def test_a_key_reaches_all_collections_or_those_that_it_names() -> None:
    assert key("read").reaches("staff")
    assert key("read", collections=("staff",)).reaches("staff")
    assert not key("read", collections=("staff",)).reaches("guests")


@pytest.mark.parametrize("words", [[], ["read", "root"], ["READ"], [""]])
def test_scopes_that_are_none_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="read, write, admin"):
        scopes_of(words)


@pytest.mark.parametrize(("text", "rate"), [("60/min", 60), ("60", 60), ("", 0), ("0", 0), (" 5/min ", 5)])
def test_a_rate_is_a_number_a_minute(text: str, rate: int) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "60/h", "1" * 12])
def test_any_other_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="60/min"):
        rate_of(text)
