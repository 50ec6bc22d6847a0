"""The deploy scripts, by what they say they would do."""

import os
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPO
from visage.settings import NAMES, Settings

SCRIPTS = ["deploy_cpu.sh", "deploy_trt.sh"]


def run(script: str, *words: str, path: str | None = None, **values: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": path or os.environ.get("PATH", ""), **values}
    command = ["/bin/bash", str(REPO / script), *words]
    return subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=30, cwd="/")


def commands(script: str, **values: str) -> list[list[str]]:
    """What it would run, each as a shell would split it."""
    done = run(script, "--dry-run", **values)
    assert (done.returncode, done.stderr) == (0, "")
    return [shlex.split(line) for line in done.stdout.splitlines()]


def options(command: list[str], name: str) -> list[str]:
    return [value for key, value in pairwise(command) if key == name]


def environment(command: list[str]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in options(command, "--env"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_image_is_built_networks_are_prepared_once_and_then_workers_start(script: str) -> None:
    build, prepare, *workers = commands(script, n_workers="3")
    kind = script.removeprefix("deploy_").removesuffix(".sh")
    assert build == ["docker", "build", "--file", f"Dockerfile_{kind}", "--tag", f"visage:{kind}", "."]
    assert prepare[-2:] == [f"visage:{kind}", "prepare"] and "--rm" in prepare and "--detach" not in prepare
    assert [options(worker, "--publish") for worker in workers] == [[f"127.0.0.1:{18081 + i}:18080"] for i in range(3)]
    assert all("--detach" in worker and worker[-1] == f"visage:{kind}" for worker in workers)
    assert all(environment(worker) == environment(prepare) for worker in workers)
    for command in (prepare, *workers):
        assert "--read-only" in command and options(command, "--volume") == ["visage-models:/models"]


def test_every_gpu_has_its_workers_on_ports_that_count_up() -> None:
    _, prepare, *workers = commands("deploy_trt.sh", n_gpu="2", n_workers="2", start_port="20000")
    assert options(prepare, "--gpus") == ["device=0"]
    placed = [(options(w, "--gpus")[0], options(w, "--publish")[0]) for w in workers]
    ports = [f"127.0.0.1:{port}:18080" for port in range(20000, 20004)]
    assert placed == list(zip(["device=0", "device=0", "device=1", "device=1"], ports, strict=True))


def test_no_gpu_is_asked_for_on_a_cpu() -> None:
    assert all("--gpus" not in command for command in commands("deploy_cpu.sh"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_variable_is_one_that_the_service_reads_and_has_a_value_that_it_takes_fault_12(script: str) -> None:
    for command in commands(script, accept_licences="insightface-nc,unstated")[1:]:
        found = environment(command)
        assert set(found) <= NAMES
        settings, said = Settings.load(found)
        assert [line for line in said if "FP16" not in line] == []
        assert (settings.det_name, settings.rec_name) == ("yunet", "sface")  # answers without a download


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"det_model": "scrfd_10g_gnkps"}, "det_name", "scrfd_10g_gnkps"),
        ({"rec_model": "None"}, "rec_name", None),
        ({"max_size": "1280,720"}, "max_size", (1280, 720)),
        ({"ga_model": "genderage_v1"}, "ga_name", "genderage_v1"),
        ({"det_thresh": "0.4"}, "def_det_thresh", 0.4),
        ({"detect_ga": "True"}, "def_extract_ga", True),
        ({"api_ver": "2"}, "def_api_ver", "2"),
    ],
)
def test_a_value_of_the_environment_reaches_the_service(values: dict[str, str], field: str, expected: Any) -> None:
    worker = commands("deploy_cpu.sh", **values)[-1]
    assert getattr(Settings.load(environment(worker))[0], field) == expected


def test_half_precision_is_asked_for_as_it_is_written_fault_11() -> None:
    for wanted in ("True", "False"):
        assert environment(commands("deploy_trt.sh", force_fp16=wanted)[-1])["FORCE_FP16"] == wanted


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_reference_s_own_pair_is_one_line_away_with_the_licences_it_needs(script: str, tmp_path: Path) -> None:
    text = (REPO / script).read_text("utf-8")
    line = "# det_model=scrfd_10g_gnkps rec_model=glintr100 accept_licences=insightface-nc,unstated\n"
    assert line in text
    for name in (script, "misc/container/deploy.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    changed = text.replace(line, line.removeprefix("# "))
    (tmp_path / script).write_text(changed, "utf-8")
    done = subprocess.run(
        ["/bin/bash", str(tmp_path / script), "--dry-run"], check=True, capture_output=True, text=True, timeout=30
    )
    found = environment(shlex.split(done.stdout.splitlines()[-1]))
    assert (found["DET_NAME"], found["REC_NAME"]) == ("scrfd_10g_gnkps", "glintr100")
    assert found["ACCEPT_LICENCES"] == "insightface-nc,unstated"


@pytest.mark.parametrize(
    ("words", "values", "said"),
    [
        (["--dry-run"], {"n_workers": "many"}, "n_workers=many: a whole number is expected"),
        (["--dry-run"], {"n_workers": "0"}, "n_workers=0: at least 1 is expected"),
        (["--nonsense"], {}, "--nonsense is not known; --help tells what is"),
    ],
)
def test_a_value_that_cannot_be_is_told_in_one_line(words: list[str], values: dict[str, str], said: str) -> None:
    done = run("deploy_cpu.sh", *words, **values)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"deploy_cpu.sh: {said}\n")


def test_where_docker_is_not_installed_that_is_said(tmp_path: Path) -> None:
    for tool in ("dirname", "basename", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    done = run("deploy_cpu.sh", path=str(tmp_path))
    assert done.returncode == 1 and done.stderr.startswith("deploy_cpu.sh: docker is not installed: https://")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_every_value(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0 and "--dry-run" in done.stdout and "det_model=yunet" in done.stdout
    assert ("n_gpu=1" in done.stdout) == (script == "deploy_trt.sh")
