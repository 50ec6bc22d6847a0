"""Control groups, as Linux writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from visage.doctor.container import Limits, limits

Groups = Callable[..., Limits]


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    def of(membership: str, files: Mapping[str, str]) -> Limits:
        (tmp_path / "cgroup").write_text(membership, "utf-8")
        for name, text in files.items():
            place = tmp_path / "mount" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"{text}\n", "utf-8")
        return limits(tmp_path / "cgroup", tmp_path / "mount")

    return of


def test_a_container_s_own_root_is_its_limit(groups: Groups) -> None:
    files = {"memory.max": "1073741824", "cpu.max": "150000 100000"}
    assert groups("0::/\n", files) == Limits(2**30, 1.5)


def test_the_tightest_of_the_groups_above_counts(groups: Groups) -> None:
    files = {"a/memory.max": "1000", "a/b/memory.max": "2000", "a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}
    assert groups("0::/a/b\n", files) == Limits(1000, 0.5)


def test_a_path_of_the_host_s_is_passed_over(groups: Groups) -> None:
    assert groups("0::/docker/0123abcd\n", {"memory.max": "4096"}) == Limits(4096, None)


def test_the_older_form_is_read_and_its_word_for_no_limit(groups: Groups) -> None:
    membership = "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n"
    cpu = {"cpu,cpuacct/docker/x/cpu.cfs_quota_us": "200000", "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000"}
    assert groups(membership, {"memory/memory.limit_in_bytes": "536870912", **cpu}) == Limits(2**29, 2.0)
    none = {"memory/memory.limit_in_bytes": "9223372036854771712", "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "-1"}
    assert groups(membership, none) == Limits(None, None)


@pytest.mark.parametrize("files", [{}, {"memory.max": "max", "cpu.max": "max 100000"}, {"cpu.max": "nonsense"}])
def test_no_limit_is_none(groups: Groups, files: dict[str, str]) -> None:
    assert groups("0::/\n", files) == Limits(None, None)


def test_without_control_groups_there_is_none(tmp_path: Path) -> None:
    assert limits(tmp_path / "cgroup", tmp_path / "mount") == Limits()
