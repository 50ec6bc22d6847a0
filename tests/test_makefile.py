"""`make serve` on a machine that lacks something says the one line that mends it."""

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


def test_what_the_opt_in_tests_install_is_pinned_fault_18() -> None:
    (line,) = [line for line in (REPO / "Makefile").read_text("utf-8").splitlines() if line.startswith("RTX_PACKAGES")]
    pins = [Requirement(word) for word in line.partition(":=")[2].split()]
    assert {pin.name for pin in pins} == {"tensorrt-rtx-cu12", "cupy-cuda12x", "nvidia-cuda-nvrtc-cu12"}
    assert all([one.operator for one in pin.specifier] == ["=="] for pin in pins)
    extra = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["trt"]
    wanted = {Requirement(text).name: Requirement(text).specifier for text in extra}
    (cupy,) = [str(one.version) for pin in pins if pin.name == "cupy-cuda12x" for one in pin.specifier]
    assert wanted["cupy-cuda12x"].contains(cupy)  # what is tried is what the service would install


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
