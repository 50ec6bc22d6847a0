"""`make serve` on a machine that lacks something says the one line that mends it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPO


def _make(*variables: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **({"PATH": path} if path else {})}
    command = ["/usr/bin/make", "serve", *variables]
    return subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, check=False)


def _python(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with what make itself needs, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "test", "echo", "touch", "command"):
        found = next((Path(p) / tool for p in ("/bin", "/usr/bin") if (Path(p) / tool).exists()), None)
        if found is not None:
            (folder / tool).symlink_to(found)
    return folder


def test_no_python_is_one_line_with_the_remedy(tmp_path: Path, tools: Path) -> None:
    done = _make(f"VENV={tmp_path / 'venv'}", path=str(tools))
    assert done.returncode != 0
    assert "visage needs Python 3.11 to 3.14: apt-get install python3 python3-venv" in done.stderr


def test_a_python_that_is_too_old_is_passed_over(tmp_path: Path, tools: Path) -> None:
    _python(tools, "python3", "exit 1")  # what the version check of an old one answers
    done = _make(f"VENV={tmp_path / 'venv'}", path=str(tools))
    assert "visage needs Python 3.11 to 3.14" in done.stderr


def test_a_python_without_venv_is_one_line_with_the_remedy(tmp_path: Path, tools: Path) -> None:
    _python(tools, "python3", f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')
    done = _make(f"VENV={tmp_path / 'venv'}", path=str(tools))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode != 0
    assert f"python3 has no venv: apt-get install {version}-venv" in done.stderr
    assert not (tmp_path / "venv" / "bin").exists()
