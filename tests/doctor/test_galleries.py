import socket
from pathlib import Path

import pytest

from tests.support import settings_of
from visage.access.keyfile import KeyFile
from visage.access.keylist import line_of
from visage.doctor import galleries
from visage.doctor.finding import Finding


def access(**environ: str) -> Finding:
    (found,) = galleries.access(settings_of(**environ))
    return found


def data(folder: Path) -> Finding:
    (found,) = galleries.data(folder)
    return found


def test_others_who_may_come_in_and_nobody_has_said_how() -> None:
    found = access(HOST="0.0.0.0")
    assert found.verdict == "bad" and "AUTH=keys" in found.what and "AUTH=off" in found.what
    assert access(HOST="127.0.0.1").verdict == "good"
    off = access(HOST="0.0.0.0", AUTH="off")
    assert off.verdict == "good" and "everything" in off.what


def test_keys_without_a_key_are_doubtful(tmp_path: Path) -> None:
    environ = {"AUTH": "keys", "DATA_DIR": str(tmp_path / "data")}
    assert access(**environ).verdict == "doubtful"
    assert not (tmp_path / "data").exists()  # a look changes nothing
    file = KeyFile(tmp_path / "data")
    file.add("desk", frozenset({"read"}))
    found = access(**environ)
    assert found.verdict == "good" and "1 valid" in found.what
    file.revoke("desk")
    assert access(**environ).verdict == "doubtful"


def test_a_listed_key_that_was_revoked_here_is_not_counted(tmp_path: Path) -> None:
    listed, file = tmp_path / "keys.jsonl", KeyFile(tmp_path / "data")
    keys = [file.add(name, frozenset({"read"}))[0] for name in ("desk", "door")]
    listed.write_text("".join(line_of(key) + "\n" for key in keys), "utf-8")
    file.revoke("desk")
    found = access(AUTH="keys", DATA_DIR=str(tmp_path / "data"), AUTH_KEYS_FILE=str(listed))
    assert found.verdict == "good" and "1 valid" in found.what
    file.revoke("door")
    assert access(AUTH="keys", DATA_DIR=str(tmp_path / "data"), AUTH_KEYS_FILE=str(listed)).verdict == "doubtful"


def test_the_folder_is_made_where_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = data(tmp_path / "a" / "b")
    assert found.verdict == "good" and "will be made" in found.what
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(galleries.os, "access", lambda *_: False)
    assert data(tmp_path / "a").verdict == "doubtful"
    (tmp_path / "file").touch()
    assert data(tmp_path / "file").verdict == "doubtful"


def test_a_network_share_is_doubtful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path.resolve() / "my share"
    folder.mkdir()
    mounts = tmp_path / "mountinfo"
    told = str(folder).replace(" ", "\\040")
    lines = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw", f"2 1 0:40 / {told} rw shared:1 - nfs4 host:/x rw", "broken"]
    mounts.write_text("\n".join(lines), "utf-8")
    monkeypatch.setattr(galleries, "_MOUNTS", mounts)
    found = data(folder / "data")
    assert found.verdict == "doubtful" and "nfs4" in found.what
    assert data(tmp_path / "data").verdict == "good"
    mounts.write_text("\n".join([*lines, f"3 2 0:41 / {told} rw - tmpfs tmpfs rw"]), "utf-8")  # mounted over it
    assert data(folder).verdict == "good"
    mounts.unlink()
    assert data(folder).verdict == "good"


def test_milvus_is_told_where_it_keeps_the_galleries(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**environ: str) -> list[Finding]:
        return list(galleries.milvus(settings_of(**environ)))

    assert found() == []
    monkeypatch.setattr(galleries, "find_spec", lambda _: None)
    (absent,) = found(MILVUS_URI="galleries.db")
    assert absent.verdict == "doubtful" and absent.remedy == "pip install visage[milvus]"
    monkeypatch.setattr(galleries, "find_spec", lambda _: object())
    assert found(MILVUS_URI="/x/galleries.db")[0].what == "Milvus Lite in /x/galleries.db, for one process"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (there,) = found(MILVUS_URI=f"http://127.0.0.1:{port}")
        assert there.verdict == "good" and there.what == f"127.0.0.1:{port} listens"
    with socket.socket() as held:  # nobody listens there, and nobody else can begin to
        held.bind(("127.0.0.1", 0))
        (gone,) = found(MILVUS_URI=f"http://127.0.0.1:{held.getsockname()[1]}")
    assert gone.verdict == "doubtful" and "503" in gone.remedy
