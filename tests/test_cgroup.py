"""Control groups, as Linux writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from visage.cgroup import Limits, limits

Groups = Callable[..., Limits]


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    """What is made of this /proc/self/cgroup, of these files below /sys/fs/cgroup, and of this /proc/self/mountinfo."""

    def of(membership: str, files: Mapping[str, str], mounts: str = "") -> Limits:
        told = {"proc/self/cgroup": membership, "proc/self/mountinfo": mounts}
        told |= {f"sys/fs/cgroup/{name}": f"{text}\n" for name, text in files.items()}
        for name, text in told.items():
            place = tmp_path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, "utf-8")
        return limits(tmp_path)

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
    assert limits(tmp_path) == Limits()


def v1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


# What systems have been seen to write: membership, files, mounts, the quota.
SHAPES: dict[str, tuple[str, dict[str, str], str, float | None]] = {
    "v2, half a core": ("0::/", {"cpu.max": "50000 100000"}, "", 0.5),
    "v2, another period": ("0::/", {"cpu.max": "30000 20000"}, "", 1.5),
    "v2, a slice above is tighter": (
        "0::/kubepods.slice/pod1.slice/cri-1.scope",
        {
            "kubepods.slice/cpu.max": "max 100000",
            "kubepods.slice/pod1.slice/cpu.max": "150000 100000",
            "kubepods.slice/pod1.slice/cri-1.scope/cpu.max": "400000 100000",
        },
        "",
        1.5,
    ),
    "v2, outside of its namespace": ("0::/../../other", {"cpu.max": "100000 100000"}, "", 1.0),
    "v2, only one number": ("0::/", {"cpu.max": "100000"}, "", None),
    "v2, of no time at all": ("0::/", {"cpu.max": "0 100000"}, "", None),
    "v2, mounted elsewhere": (
        "0::/system.slice/visage.service",
        {"../../../mnt/groups of it/visage.service/cpu.max": "250000 100000"},
        "30 25 0:26 /system.slice /mnt/groups\\040of\\040it rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
        2.5,
    ),
    "v1": ("4:cpu:/docker/x\n1:name=systemd:/docker/x", v1("cpu/docker/x", 50_000), "", 0.5),
    "v1, two controllers": ("4:cpu,cpuacct:/docker/x", v1("cpu,cpuacct/docker/x", 200_000), "", 2.0),
    "v1, the container's own group is the mount": ("4:cpu,cpuacct:/docker/x", v1("cpu,cpuacct", 150_000), "", 1.5),
    "v1, the mount has the names the other way round": (
        "4:cpuacct,cpu:/docker/x",
        v1("cpu,cpuacct/docker/x", 150_000),
        "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 master:3 - cgroup cgroup rw,cpu,cpuacct\n",
        1.5,
    ),
    "v1, below a mount of a group": (
        "4:cpu:/kubepods/pod1/c1",
        v1("cpu/c1", 30_000),
        "33 25 0:29 /kubepods/pod1 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
        0.3,
    ),
    "v1, the pod is tighter": (
        "4:cpu:/kubepods/pod1/c1",
        {**v1("cpu/kubepods/pod1", 100_000), **v1("cpu/kubepods/pod1/c1", 300_000)},
        "",
        1.0,
    ),
    "v1, no limit": ("4:cpu:/docker/x", v1("cpu/docker/x", -1), "", None),
    "v1, no period": ("4:cpu:/docker/x", v1("cpu/docker/x", 50_000, 0), "", None),
    "hybrid: v1 rules the cores": (
        "2:cpu:/docker/x\n0::/docker/x",
        {**v1("cpu/docker/x", 50_000), "unified/docker/x/cgroup.procs": ""},
        "34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        0.5,
    ),
    "no line of them is one": ("\nnonsense\n::\n", {"cpu.max": "50000 100000"}, "more of\nthat - cgroup\n", 0.5),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_quota_is_found_however_groups_are_mounted(
    groups: Groups, shape: tuple[str, dict[str, str], str, float | None]
) -> None:
    membership, files, mounts, quota = shape
    assert groups(membership + "\n", files, mounts).cpus == quota


def test_a_group_of_another_is_not_ones_own(groups: Groups) -> None:
    files = {"other/cpu.max": "10000 100000", "mine/cpu.max": "max 100000", "mine/below/cpu.max": "10000 100000"}
    assert groups("0::/mine\n", files).cpus is None
