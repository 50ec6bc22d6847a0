import hashlib
from pathlib import Path
from typing import Any

import pytest

from visage.zoo.catalogue import Entry, Licence, WebFile
from visage.zoo.hashes import Hash, agrees, expected, is_known

DATA = b"weights"
SHA256, MD5 = hashlib.sha256(DATA).hexdigest(), hashlib.md5(DATA).hexdigest()
PLAIN = WebFile(url="http://host/a")
OWN = WebFile(url="http://host/b", sha256="b" * 64)
OWN_MD5 = WebFile(url="http://host/c", md5="c" * 32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


def entry(*sources: WebFile, **fields: Any) -> Entry:
    return Entry(name="a", family="arcface", licence=Licence(id="mit"), sources=sources, **fields)


def test_a_file_is_what_its_hash_says(file: Path) -> None:
    assert Hash("sha256", SHA256).agrees(file, SHA256) and Hash("md5", MD5).agrees(file, SHA256)
    assert not Hash("sha256", "0" * 64).agrees(file, SHA256) and not Hash("md5", "0" * 32).agrees(file, SHA256)


def test_a_hash_is_told_by_its_kind() -> None:
    assert (str(Hash("sha256", "a")), str(Hash("md5", "b"))) == ("a", "md5 b")


def test_the_source_s_hash_comes_before_the_entry_s_and_sha256_before_md5() -> None:
    whole = entry(PLAIN, OWN, OWN_MD5, sha256="a" * 64, md5="a" * 32)

    assert expected(whole) == expected(whole, PLAIN) == Hash("sha256", "a" * 64)
    assert expected(whole, OWN) == Hash("sha256", "b" * 64)
    assert expected(whole, OWN_MD5) == Hash("md5", "c" * 32)
    assert expected(entry(md5="a" * 32)) == Hash("md5", "a" * 32)
    assert expected(entry(PLAIN), PLAIN) is None


def test_an_entry_is_known_by_any_hash_of_it() -> None:
    assert is_known(entry(sha256="a" * 64)) and is_known(entry(md5="a" * 32)) and is_known(entry(PLAIN, OWN))
    assert not is_known(entry()) and not is_known(entry(PLAIN))


def test_a_file_agrees_with_any_of_them_but_not_with_none(file: Path) -> None:
    mine = WebFile(url="http://host/d", md5=MD5)

    assert agrees(file, SHA256, entry(PLAIN, mine, sha256="a" * 64)) and agrees(file, SHA256, entry(sha256=SHA256))
    assert not agrees(file, SHA256, entry(PLAIN, OWN, sha256="a" * 64)) and not agrees(file, SHA256, entry(PLAIN))
    # sha256 decides where both are known: md5 tells no forger
    assert not agrees(file, SHA256, entry(sha256="a" * 64, md5=MD5))
