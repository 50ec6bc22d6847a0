"""Workers that are slow to start, as on a busy machine, are waited for."""

from pathlib import Path

from tests.support import REPO, served, wait_ready

# `visage serve` whose workers, which read this file as well, take longer than uvicorn waits for one unless it is told.
SERVE = """
import time
from visage.__main__ import main
if __name__ == "__main__":
    raise SystemExit(main(["serve"]))
time.sleep(7)
"""


def test_workers_that_are_slow_to_start_are_not_taken_for_hung(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text(SERVE, "utf-8")
    environ = {"PYTHONPATH": f"{REPO / 'src'}:{REPO}", "MODELS_DIR": str(models_dir), "NUM_WORKERS": "2"}
    with served(tmp_path, [str(tmp_path / "serve.py")], **environ) as server:
        wait_ready(lambda: server.log().count("visage is ready") == 2, 100)
