import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support import REPO
from visage import lock as lock_module
from visage.errors import DownloadFailed, ModelFileError
from visage.lock import alone, told_plainly


def test_a_lock_is_given_back_also_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FileLock] = []  # kept: a lock that is forgotten is given back as well

    def kept(path: Path) -> FileLock:
        made.append(FileLock(path))
        return made[-1]

    monkeypatch.setattr(lock_module, "FileLock", kept)
    with pytest.raises(ValueError, match="why"), alone(tmp_path / ".lock", "tiny"):
        raise ValueError("why")
    assert [lock.is_locked for lock in made] == [False]
    with alone(tmp_path / ".lock", "tiny"):
        assert made[-1].is_locked


def test_whoever_waits_says_so_and_goes_on_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock_module, "_SAY_EVERY", 0.01)
    held = FileLock(tmp_path / ".lock", thread_local=False)
    held.acquire()

    class Freeing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            held.release()  # at once: threads that did it would meet where it is said more than once meanwhile

    logger = logging.getLogger("visage.lock")
    handler = Freeing()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO), alone(tmp_path / ".lock", "tiny"):
            assert "tiny: another process is preparing it; waiting" in caplog.text
    finally:
        logger.removeHandler(handler)


def test_a_lock_that_nobody_gives_back_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_SAY_EVERY", 0.01)
    monkeypatch.setattr(lock_module, "_LONGEST", 0.0)
    with FileLock(tmp_path / ".lock"), pytest.raises(ModelFileError) as caught, alone(tmp_path / ".lock", "tiny"):
        pass
    assert str(caught.value).startswith("tiny: ") and str(caught.value).endswith(f"delete {tmp_path / '.lock'}")


def test_a_lock_goes_with_the_process_that_is_killed(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from visage.lock import alone\n"
    script += "with alone(Path(sys.argv[1]), 'tiny'): print('held', flush=True); time.sleep(100)"
    env = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    command = [sys.executable, "-c", script, str(tmp_path / ".lock")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    with alone(tmp_path / ".lock", "tiny"):
        pass


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "make room, or set MODELS_DIR"),
        (errno.EDQUOT, "make room, or set MODELS_DIR"),
        (errno.EROFS, "`visage prepare`, or set MODELS_DIR"),
        (errno.EACCES, "set MODELS_DIR to a folder that this user may write to"),
        (errno.ENOTDIR, "set MODELS_DIR to a folder"),
    ],
)
def test_what_a_disk_refuses_is_told_in_one_line(tmp_path: Path, code: int, remedy: str) -> None:
    folder = tmp_path / "not" / "yet"
    with pytest.raises(ModelFileError) as caught, told_plainly("tiny", folder):
        raise OSError(code, os.strerror(code))
    said = str(caught.value)
    assert said.startswith(f"tiny: cannot write to {folder}: {os.strerror(code)}; ") and remedy in said
    assert "\n" not in said and isinstance(caught.value.__cause__, OSError)


def test_other_failures_pass(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"^why$"), told_plainly("tiny", tmp_path):
        raise DownloadFailed("why")
