"""The model repository of a Triton server, for the networks that the settings name."""

import argparse
import logging
import shutil
from pathlib import Path

from visage.backends.triton.repository import CONFIG, DEVICES, PLATFORMS, WORK, Serving, Written, write
from visage.cli.beginning import began
from visage.errors import ConfigurationError
from visage.lock import alone
from visage.runtime import model_file, prepare

ABOUT = "Write the model repository that Triton serves the networks named by the settings from."

log = logging.getLogger("visage.triton_repo")


def arguments(parser: argparse.ArgumentParser) -> None:
    plain = Serving()
    parser.add_argument("folder", type=Path, metavar="DIR", help="what tritonserver gets as --model-repository")
    parser.add_argument(
        "--platform", choices=PLATFORMS, default=plain.platform, help="Triton's backend (default: %(default)s)"
    )
    parser.add_argument("--instances", type=_count, default=plain.instances, help="of each network (default: 1)")
    parser.add_argument("--device", choices=DEVICES, default=plain.device, help="auto: a GPU where there is one")
    parser.add_argument("--threads", type=int, default=plain.threads, help="cores of an instance; for python; 0: all")
    parser.add_argument("--max-batch", type=_count, default=plain.max_batch, help="pictures joined (default: 16)")
    parser.add_argument(
        "--queue-delay", type=int, default=plain.delay, help="microseconds that one waits for others (default: 1000)"
    )


def run(given: argparse.Namespace) -> int:
    settings = began(log)
    serving = Serving(
        given.platform,
        given.instances,
        given.device,
        given.threads,
        given.max_batch,
        given.queue_delay,
        int(settings.triton_timeout * 1e6),
    )
    networks = prepare(settings)
    folder: Path = given.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / ".lock", "the model repository"):
            for left in folder.glob(f"{WORK}*"):  # by a process that was killed: we are alone
                shutil.rmtree(left)
            done = [write(model_file(settings, m.entry, m.file), folder, serving) for _, m in networks.all()]
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename or folder} cannot be written: {exc.strerror}") from exc
    _tell(folder, done)
    return 0


def _tell(folder: Path, done: list[Written]) -> None:
    for written in done:
        print(f"{folder / written.name}: {', '.join(written.changed) or 'nothing'} written")
        if written.remark:
            print(f"    {written.remark}")
    others = sorted({path.parent.name for path in folder.glob(f"*/{CONFIG}")} - {written.name for written in done})
    if others:
        print(f"also there, and named by no setting: {', '.join(others)}")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)
