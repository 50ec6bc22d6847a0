"""The deploy scripts, by what they say they would do."""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
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
    return subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=100, cwd="/")


def commands(script: str, **values: str) -> list[list[str]]:
    """What it would run, each as a shell would split it, but for the pipes that end those before."""
    done = run(script, "--dry-run", **values)
    assert (done.returncode, done.stderr) == (0, "")
    return [shlex.split(line) for line in done.stdout.splitlines() if "|" not in line]


def options(command: list[str], name: str) -> list[str]:
    return [value for key, value in pairwise(command) if key == name]


def environment(command: list[str]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in options(command, "--env"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_image_is_built_networks_are_prepared_once_and_then_workers_start(script: str) -> None:
    build, prepare, *workers = commands(script, n_workers="3")
    kind = script.removeprefix("deploy_").removesuffix(".sh")
    file = str(REPO / f"Dockerfile_{kind}")  # so that it can be pasted anywhere
    assert build == ["docker", "build", "--file", file, "--tag", f"visage:{kind}", str(REPO)]
    assert prepare[-2:] == [f"visage:{kind}", "prepare"] and "--rm" in prepare and "--detach" not in prepare
    assert [options(worker, "--publish") for worker in workers] == [[f"127.0.0.1:{18081 + i}:18080"] for i in range(3)]
    assert all("--detach" in worker and worker[-1] == f"visage:{kind}" for worker in workers)
    assert all(environment(worker) == environment(prepare) for worker in workers)
    for command in (prepare, *workers):
        assert "--read-only" in command and options(command, "--volume") == [
            "visage-models:/models",
            "visage-data:/data",
        ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_who_may_ask_is_off_on_this_machine_and_has_to_be_said_for_others(script: str) -> None:
    assert environment(commands(script)[1])["AUTH"] == "off"
    assert environment(commands(script, publish="::1")[1])["AUTH"] == "off"
    done = run(script, "--dry-run", publish="0.0.0.0")
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "publish=0.0.0.0" in line and "auth=keys" in line and "auth=off" in line and "keys add" in line
    for auth in ("keys", "off"):
        for command in commands(script, publish="0.0.0.0", auth=auth)[1:]:
            assert environment(command)["AUTH"] == auth
    wrong = run(script, "--dry-run", auth="on")
    assert wrong.returncode == 1 and "auth=on" in wrong.stderr


def test_who_may_ask_may_stand_in_the_file_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "more.env"
    file.write_text("AUTH=keys\n", "utf-8")
    for publish in ("127.0.0.1", "0.0.0.0"):
        for command in commands("deploy_cpu.sh", publish=publish, env_file=str(file))[1:]:
            assert "AUTH" not in environment(command)  # which would go before the file's
            assert options(command, "--env-file") == [str(file)]
    assert environment(commands("deploy_cpu.sh", auth="off", env_file=str(file))[1])["AUTH"] == "off"
    file.write_text("AUTH=\n", "utf-8")
    assert "publish=0.0.0.0" in run("deploy_cpu.sh", "--dry-run", publish="0.0.0.0", env_file=str(file)).stderr


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
        ["/bin/bash", str(tmp_path / script), "--dry-run"], check=True, capture_output=True, text=True, timeout=100
    )
    found = environment(shlex.split(done.stdout.splitlines()[-1]))
    assert (found["DET_NAME"], found["REC_NAME"]) == ("scrfd_10g_gnkps", "glintr100")
    assert found["ACCEPT_LICENCES"] == "insightface-nc,unstated"


@pytest.mark.parametrize(
    ("words", "values", "said"),
    [
        (["--dry-run"], {"n_workers": "many"}, "n_workers=many: a whole number is expected"),
        (["--dry-run"], {"n_workers": "0"}, "n_workers=0: at least 1 is expected"),
        (
            ["--dry-run"],
            {"n_workers": "2", "start_port": "65535"},
            "start_port=65535: 2 ports from there on are more than there are",
        ),
        (["--nonsense"], {}, "--nonsense is not known; --help tells what is"),
    ],
)
def test_a_value_that_cannot_be_is_told_in_one_line(words: list[str], values: dict[str, str], said: str) -> None:
    done = run("deploy_cpu.sh", *words, **values)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"deploy_cpu.sh: {said}\n")


def test_folders_count_from_where_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "more.env").write_text("MAX_REQUESTS=7\n", "utf-8")
    env = {
        "PATH": os.environ.get("PATH", ""),
        "models": "./m n",
        "data": f"{tmp_path}/data",
        "images": str(tmp_path),
        "env_file": "./more.env",
    }
    command = ["/bin/bash", str(REPO / "deploy_cpu.sh"), "--dry-run"]
    done = subprocess.run(command, check=True, env=env, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    worker = shlex.split(done.stdout.splitlines()[-1])
    assert options(worker, "--volume") == [
        f"{tmp_path}/./m n:/models",
        f"{tmp_path}/data:/data",
        f"{tmp_path}:/images:ro",
    ]
    assert options(worker, "--env-file") == [f"{tmp_path}/./more.env"]


@dataclass
class Machine:
    """A PATH with a docker, an nvidia-smi and so on of a few lines; `calls`: what docker was asked."""

    folder: Path

    def has(self, tool: str, script: str) -> None:
        file = self.folder / tool
        file.write_text(
            f'#!/bin/bash\n[ {tool} != docker ] || printf "%q " "$@" >>{self.folder}/calls\n{script}\n', "utf-8"
        )
        file.chmod(0o755)

    def has_docker(self, *, image: bool = True, runtimes: str = "runc", running: str = "", daemon: bool = True) -> None:
        """`running`: the ids of containers that are there."""
        self.has(
            "docker",
            f"""echo >>{self.folder}/calls
            case "$1 $2" in
            "info --format") echo '{{"{runtimes}":{{}}}}' ;;
            "info ") exit {0 if daemon else 1} ;;
            "image inspect") exit {0 if image else 1} ;;
            "ps --all") [ -z "{running}" ] || printf '%s\\n' {running} ;;
            esac""",
        )

    @property
    def calls(self) -> list[list[str]]:
        lines = (self.folder / "calls").read_text("utf-8").splitlines()
        return [["docker", *shlex.split(line)] for line in lines if not line.startswith(("info", "image inspect"))]

    def run(self, script: str, *words: str, **values: str) -> subprocess.CompletedProcess[str]:
        return run(script, *words, path=str(self.folder), **values)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for tool in ("bash", "dirname", "basename", "sed", "grep"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    return Machine(tmp_path)


def test_what_it_runs_is_what_it_prints(machine: Machine) -> None:
    machine.has_docker(image=False)
    done = machine.run("deploy_cpu.sh", n_workers="2")
    assert (done.returncode, done.stderr) == (0, "") and "http://127.0.0.1:18081/docs" in done.stdout
    assert [call for call in machine.calls if call[1] != "ps"] == commands("deploy_cpu.sh", n_workers="2")


@pytest.mark.parametrize(("words", "built"), [([], 0), (["--build"], 1)])
def test_an_image_that_is_there_is_built_again_only_where_that_is_asked(
    machine: Machine, words: list[str], built: int
) -> None:
    machine.has_docker()
    assert machine.run("deploy_cpu.sh", *words).returncode == 0
    assert [call[1] for call in machine.calls].count("build") == built


def test_those_of_before_are_stopped_once_the_networks_are_prepared_and_before_new_ones_start(machine: Machine) -> None:
    machine.has_docker(running="0a 1b")
    assert machine.run("deploy_cpu.sh").returncode == 0
    assert [call[1] for call in machine.calls] == ["run", "ps", "stop", "rm", "run"]
    assert machine.calls[2] == ["docker", "stop", "-t", "30", "0a", "1b"]
    assert "label=visage=cpu" in machine.calls[1]


def test_networks_that_cannot_be_prepared_leave_what_runs_alone(machine: Machine) -> None:
    machine.has_docker(running="0a")
    machine.has("docker", (machine.folder / "docker").read_text("utf-8") + '\n[[ "$*" != *prepare ]] || exit 3')
    assert machine.run("deploy_cpu.sh").returncode == 3
    assert [call[1] for call in machine.calls if call[1:] and call[1] != "prepare"].count("stop") == 0


def test_stop_stops_and_starts_nothing(machine: Machine) -> None:
    machine.has_docker(running="0a")
    assert machine.run("deploy_trt.sh", "--stop", publish="0.0.0.0").returncode == 0  # whoever may ask: they end
    assert [call[1] for call in machine.calls] == ["ps", "stop", "rm"]


def test_where_docker_is_not_installed_that_is_said(machine: Machine) -> None:
    done = machine.run("deploy_cpu.sh")
    assert done.returncode == 1 and done.stderr.startswith("deploy_cpu.sh: docker is not installed: https://")


def test_where_its_daemon_does_not_answer_that_is_said(machine: Machine) -> None:
    machine.has_docker(daemon=False)
    done = machine.run("deploy_cpu.sh")
    assert done.returncode == 1 and "the docker daemon does not answer" in done.stderr


GPUS = 'printf "GPU 0: NVIDIA L4 (UUID: GPU-a)\\nGPU 1: NVIDIA L4 (UUID: GPU-b)\\n"'


@pytest.mark.parametrize(
    ("smi", "runtimes", "n_gpu", "said"),
    [
        (None, "nvidia", "1", "nvidia-smi is not there"),
        (
            'echo "has failed because it could not communicate with the driver"; exit 9',
            "nvidia",
            "1",
            "nvidia-smi finds no GPU: has failed",
        ),
        (GPUS, "nvidia", "3", "n_gpu=3, but this machine has 2"),
        (GPUS, "runc", "2", "nvidia-container-toolkit is not there"),
        (GPUS, "nvidia", "2", None),
    ],
)
def test_what_gpus_need_is_said(machine: Machine, smi: str | None, runtimes: str, n_gpu: str, said: str | None) -> None:
    machine.has_docker(runtimes=runtimes)
    if smi is not None:
        machine.has("nvidia-smi", smi)
    done = machine.run("deploy_trt.sh", n_gpu=n_gpu)
    assert done.returncode == (0 if said is None else 1) and (said or "") in done.stderr
    assert len(done.stderr.splitlines()) == (0 if said is None else 1)


def test_the_toolkit_s_hook_is_enough(machine: Machine) -> None:
    machine.has_docker()
    machine.has("nvidia-smi", GPUS)
    machine.has("nvidia-container-runtime-hook", "")
    assert machine.run("deploy_trt.sh").returncode == 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_every_value(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0 and "--dry-run" in done.stdout and "det_model=yunet" in done.stdout
    assert ("n_gpu=1" in done.stdout) == (script == "deploy_trt.sh")
