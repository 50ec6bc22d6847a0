"""The Dockerfiles, as far as reading them tells; `make image-test` builds them."""

import fnmatch
import re
import shlex
import tomllib
from itertools import chain

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.support import REPO
from visage.settings import NAMES, Settings

FILES = ["Dockerfile_cpu", "Dockerfile_trt"]
# What is not the service's own.
OF_OTHERS = {
    "PATH",
    "PYTHONUNBUFFERED",
    "NUMBA_CACHE_DIR",
    "CUPY_CACHE_DIR",
    "MODELS_DIR",
    "ROOT_IMAGES_DIR",
    "DATA_DIR",
}


def steps(file: str) -> list[tuple[str, str]]:
    """Each instruction with its words."""
    lines = [line for line in (REPO / file).read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(step.split()[0], step.partition(" ")[2].strip()) for step in whole.splitlines() if step.strip()]


def last_stage(file: str) -> list[tuple[str, str]]:
    found = steps(file)
    return found[max(i for i, (word, _) in enumerate(found) if word == "FROM") :]


def environment(file: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for word, text in last_stage(file) if word == "ENV" for pair in shlex.split(text))


def base(file: str) -> str:
    return next(text.partition("=")[2] for word, text in steps(file) if word == "ARG")


def test_the_base_s_python_is_one_that_the_project_admits_fault_18() -> None:
    version = re.fullmatch(r"python:(3\.\d+)-slim", base("Dockerfile_cpu"))
    admitted = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    assert version and SpecifierSet(admitted).contains(f"{version[1]}.0")


@pytest.mark.parametrize("file", FILES)
def test_all_that_is_installed_is_pinned_fault_18(file: str) -> None:
    installs = [
        command
        for word, text in steps(file)
        if word == "RUN"
        for command in re.split(r"&&|;", text)
        if " install" in command
    ]
    assert any("--require-hashes -r requirements.txt" in command for command in installs)
    for command in (command for command in installs if "pip" in command):
        asked = command.split(" install", 1)[1].split()
        chosen_by_caller = {'".[${EXTRAS}]"', '"${CUPY}"'}
        assert "--require-hashes" in asked or "--no-deps" in asked or chosen_by_caller & set(asked), command
    chosen = [text for word, text in steps(file) if word == "ARG" and text.startswith("CUPY=")]
    assert len(chosen) == (file == "Dockerfile_trt") and all(re.search(r"==\d+(\.\d+)+$", text) for text in chosen)
    assert not re.search(r":latest|^FROM [^$:]+$", (REPO / file).read_text("utf-8"), re.M)


@pytest.mark.parametrize("file", FILES)
def test_it_ends_without_rights_and_with_a_check_of_its_health(file: str) -> None:
    words = dict(last_stage(file))
    assert (words["USER"], words["VOLUME"], words["EXPOSE"]) == ("10001:10001", "/models /data", "18080")
    assert (words["ENTRYPOINT"], words["CMD"]) == ('["/opt/visage/entrypoint.sh"]', '["serve"]')
    assert words["STOPSIGNAL"] == "SIGTERM" and "healthy.py" in words["HEALTHCHECK"]
    assert not any(word in text for _, text in last_stage(file) for word in ("apt-get", "pip install"))
    assert (REPO / "misc" / "container" / "entrypoint.sh").stat().st_mode & 0o111


@pytest.mark.parametrize("file", FILES)
def test_every_variable_is_one_that_the_service_reads_fault_12(file: str) -> None:
    found = environment(file)
    assert set(found) - OF_OTHERS <= NAMES
    settings, said = Settings.load({name: value for name, value in found.items() if name in NAMES})
    assert (settings.host, settings.port, said) == ("0.0.0.0", 18080, [])


@pytest.mark.parametrize("file", FILES)
def test_the_volume_gets_no_catalogue_that_would_outlive_an_upgrade(file: str) -> None:
    assert not [text for word, text in last_stage(file) if word == "COPY" and "models.json" in text]


@pytest.mark.parametrize("file", FILES)
def test_what_is_copied_is_not_ignored_and_nothing_else_is_let_in(file: str) -> None:
    let_in = [line[1:] for line in (REPO / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    copied = [text.split()[:-1] for word, text in steps(file) if word == "COPY" and "--from" not in text]
    for place in chain.from_iterable(copied):
        assert any(place == one or fnmatch.fnmatch(place, f"{one}/*") for one in let_in), place
    assert all((REPO / one).exists() for one in let_in)


def test_triton_and_tensorrt_are_of_one_month() -> None:
    """Engines are bound to TensorRT's version, and NVIDIA gives images of a month the same one."""
    services = yaml.safe_load((REPO / "misc" / "compose" / "triton.yml").read_text("utf-8"))["services"]
    tag = services["triton"]["image"].rpartition(":")[2]
    assert base("Dockerfile_trt") == f"nvcr.io/nvidia/tensorrt:{tag}"


def test_the_health_check_needs_nothing_but_python() -> None:
    text = (REPO / "misc" / "container" / "healthy.py").read_text("utf-8")
    assert set(re.findall(r"^(?:import|from) ([\w.]+)", text, re.M)) == {"http.client", "os", "sys"}


def test_what_the_docs_name_of_misc_is_there() -> None:
    named = re.findall(r"`(misc/[\w./-]+)`", (REPO / "docs" / "operating.md").read_text("utf-8"))
    assert "misc/nginx/visage.conf" in named and all((REPO / place).exists() for place in named), named
