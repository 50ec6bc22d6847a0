"""A client of visage at work: small examples to copy, and a demonstration to run.

    make serve                                                in one terminal: the service, on port 18080
    .venv/bin/python demo_client.py -p 18080                  in another: the faces of misc/images, ten times over
    .venv/bin/python demo_client.py -p 18080 --examples       each call of the service once
    .venv/bin/python demo_client.py -p 18080 -d DIR --save OUT    all files below DIR; pictures with boxes go to OUT

The functions of the first part are the examples: each is one call of `visage_client` (docs/client.md has all of them),
and the demonstration is made of them. The options are those of InsightFace-REST's client; without -p it asks port
18081, which containers publish.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

try:
    from visage_client import (
        BadAnswer,
        Client,
        ExtractedFace,
        ExtractedImage,
        Info,
        NoAnswer,
        Refused,
        Remote,
        VisageError,
        dot,
    )
except ModuleNotFoundError as absent:
    sys.exit(f"{absent.name} is missing: pip install ./src/visage_client rich (make serve does it in .venv)")

SAMPLES = Path(__file__).resolve().parent / "misc" / "images"

# ---------------------------------------------------------------------------------------------------------------------
# The calls. `fields` are those of /extract (see /docs).


def extract(service: Client, pictures: Sequence[bytes], **fields: Any) -> Sequence[ExtractedImage]:
    """An entry for each picture, in order: its faces, or in `traceback` why there are none."""
    return service.extract(pictures, bare=False, **fields).data


def extract_one(service: Client, picture: bytes, **fields: Any) -> ExtractedImage:
    """One picture as the body: the quickest way in."""
    return service.extract(picture, **fields).data[0]


def extract_urls(service: Client, urls: Sequence[str], **fields: Any) -> Sequence[ExtractedImage]:
    """Pictures that the service fetches: http addresses, or paths below its ROOT_IMAGES_DIR."""
    return service.extract([Remote(url) for url in urls], **fields).data


def aligned_crops(service: Client, picture: bytes) -> list[bytes]:
    """The faces of a picture cut out and set upright, 112×112, as JPEG files."""
    faces = extract(service, [picture], return_face_data=True, extract_embedding=False)[0].faces
    return [face.facedata or b"" for face in faces]


def embed_crops(service: Client, crops: Sequence[bytes]) -> list[ExtractedFace]:
    """Embeddings of crops that were cut out before: no detection, one face a crop."""
    return [image.faces[0] for image in extract(service, crops, embed_only=True)]


def draw_detections(service: Client, picture: bytes, **fields: Any) -> bytes:
    """The picture with its faces drawn in, a JPEG file."""
    return service.draw_detections(picture, bare=False, **fields)


def similarity(one: ExtractedFace, other: ExtractedFace) -> float:
    """Cosine of two faces' embeddings: near 1 for one person, near 0 for two."""
    return dot(one.vec or (), other.vec or ())


def verify(service: Client, picture: bytes, other: bytes) -> float:
    """Similarity of the largest faces of two pictures, each of which has one."""
    one, two = (image.faces[0] for image in extract(service, [picture, other], limit_faces=1))
    return similarity(one, two)


# ---------------------------------------------------------------------------------------------------------------------
# The connection


def connect(uri: str, port: int, threads: int = 1, *, use_msgpack: bool = True) -> Client:
    """A client for `threads` threads. A port within `uri` goes before `port`. VISAGE_KEY: the key, where the service
    asks for one. Raises ValueError.
    """
    try:
        url = httpx.URL(uri if "://" in uri else f"http://{uri}")
    except httpx.InvalidURL as exc:
        raise ValueError(f"-u {uri}: {exc}") from exc
    return Client(
        str(url if url.port else url.copy_with(port=port)),
        key=os.environ.get("VISAGE_KEY"),
        timeout=180,
        connections=threads,
        form="msgpack" if use_msgpack else "json",
    )


# ---------------------------------------------------------------------------------------------------------------------
# Many files


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Result:
    """The faces of one picture, or the reason why it has none to tell."""

    name: str
    faces: Sequence[ExtractedFace] = ()
    reason: str = ""


_NOBODY = ExtractedFace()


@dataclass(frozen=True, slots=True)
class Batch:
    """One request that was answered."""

    results: Sequence[Result]
    seconds: float

    def counted(self) -> "Batch":
        """Without what only the table needs: a long run must not fill the memory."""
        return Batch(
            [Result("", [_NOBODY] * len(result.faces), result.reason) for result in self.results], self.seconds
        )


# `extract` with everything but the pictures given
Extract = Callable[[Sequence[bytes]], Sequence[ExtractedImage]]


def files_below(folder: Path) -> list[Picture]:
    """All files of a folder and its folders, whatever they are; names that start with a dot are left alone."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        Picture(str(path), (folder / path).read_bytes)
        for path in paths
        if not any(part.startswith(".") for part in path.parts)
    ]


def sample_pictures() -> list[Picture]:
    return [Picture(path.name, path.read_bytes) for path in sorted(SAMPLES.glob("*.jpg"))]


def sample_crops(service: Client) -> list[Picture]:
    """What --embed_only takes: the sample pictures' faces, cut out."""
    return [
        Picture(f"{picture.name} #{i}", partial(bytes, crop))
        for picture in sample_pictures()
        for i, crop in enumerate(aligned_crops(service, picture.read()))
    ]


def extract_batch(extract: Extract, pictures: Sequence[Picture]) -> list[Result]:
    """A result for each picture, in order. A file that cannot be read fails alone."""
    contents = [content_of(picture) for picture in pictures]
    answers = iter(answers_for(extract, [content for content in contents if isinstance(content, bytes)]))
    return [
        result_of(picture, next(answers)) if isinstance(content, bytes) else content
        for picture, content in zip(pictures, contents, strict=True)
    ]


def content_of(picture: Picture) -> bytes | Result:
    try:
        return picture.read()
    except OSError as exc:
        return Result(picture.name, reason=exc.strerror or str(exc))


def answers_for(extract: Extract, contents: Sequence[bytes]) -> list[ExtractedImage]:
    """One request; halved where it is too much for one. What is refused as a whole fails with the same reason."""
    if not contents:
        return []
    try:
        return list(extract(contents))
    except Refused as refused:
        if len(contents) > 1 and is_too_much(refused):
            half = len(contents) // 2
            return answers_for(extract, contents[:half]) + answers_for(extract, contents[half:])
        return [ExtractedImage("failed", traceback=str(refused))] * len(contents)


def is_too_much(refused: Refused) -> bool:
    """Whether fewer pictures at a time might pass: over the limit of a request, or not done in time."""
    return refused.status == 413 or refused.kind == "deadline-exceeded"


def result_of(picture: Picture, image: ExtractedImage) -> Result:
    if image.status != "ok":
        return Result(picture.name, reason=image.traceback or "failed")
    return Result(picture.name, image.faces)


def timed(extract: Extract, pictures: Sequence[Picture], keep: bool) -> Batch:
    started = time.perf_counter()
    results = extract_batch(extract, pictures)
    batch = Batch(results, time.perf_counter() - started)
    return batch if keep else batch.counted()


def post_all(
    extract: Extract, batches: Sequence[Sequence[Picture]], iterations: int, threads: int, done: Callable[[int], object]
) -> tuple[list[Result], list[Batch], float]:
    """The results of the first iteration, the answered requests of all, the seconds taken. Ctrl-C ends it early."""
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(timed, extract, batch, i == 0) for i in range(iterations) for batch in batches]
        try:
            for future in as_completed(waiting):
                done(len(future.result().results))
        except KeyboardInterrupt:
            pass
        finally:
            pool.shutdown(cancel_futures=True)
    first = [result for batch in answered(waiting[: len(batches)]) for result in batch.results]
    return first, answered(waiting), time.perf_counter() - started


def answered(futures: Sequence[Future[Batch]]) -> list[Batch]:
    return [future.result() for future in futures if not future.cancelled()]


# ---------------------------------------------------------------------------------------------------------------------
# What is shown


def faces_table(results: Sequence[Result], rows: int) -> Table:
    """A line a face, at most `rows` of them (0: all); columns that no face has are left out."""
    lines = [(result, i, face) for result in results for i, face in enumerate(result.faces)]
    shown = lines[:rows] if rows else lines
    has_person = any(face.age is not None or face.gender is not None for _, _, face in shown)
    has_norm = any(face.norm is not None for _, _, face in shown)
    caption = f"and {len(lines) - len(shown)} more faces: --rows 0 shows all" if len(lines) > len(shown) else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("image", overflow="fold")
    for title in ("#", "box", "score", "size", *["person"] * has_person, *["norm"] * has_norm):
        table.add_column(title, justify="right", no_wrap=True)
    for result, i, face in shown:
        cells = [",".join(map(str, face.bbox or [])), number(face.prob, 3), number(face.size, 0)]
        cells += [person(face)] * has_person + [number(face.norm, 2)] * has_norm
        table.add_row(printable(result.name) if i == 0 else "", str(i), *cells)
    return table


def failures_table(results: Sequence[Result], rows: int) -> Table:
    failed = [result for result in results if result.reason]
    table = Table("failed image", "reason", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].overflow = table.columns[1].overflow = "fold"
    for result in failed[:rows] if rows else failed:
        table.add_row(printable(result.name), printable(result.reason))
    return table


def summary_table(batches: Sequence[Batch], seconds: float) -> Table:
    results = [result for batch in batches for result in batch.results]
    failed, faces = sum(bool(result.reason) for result in results), sum(len(result.faces) for result in results)
    latencies = sorted(batch.seconds * 1000 for batch in batches)
    p95 = latencies[math.ceil(0.95 * len(latencies)) - 1]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("images", f"{len(results)} ({failed} failed)", f"{len(results) / seconds:.1f} images/s")
    table.add_row("faces", str(faces), f"{faces / seconds:.1f} faces/s")
    table.add_row(
        "requests", str(len(batches)), f"latency median {statistics.median(latencies):.0f} ms, p95 {p95:.0f} ms"
    )
    return table


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def person(face: ExtractedFace) -> str:
    """Gender and age: M 31."""
    letter = {1: "M", 0: "F"}.get(-1 if face.gender is None else face.gender, "")
    return f"{letter} {number(face.age, 0)}".strip()


def printable(text: str) -> str:
    """Without what could command a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


@contextmanager
def progress_of(total: int) -> Iterator[Callable[[int], object]]:
    """A bar on standard error, if that is a terminal."""
    screen = Console(stderr=True)
    columns = TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("images", total=total)
        yield partial(progress.advance, task)


# ---------------------------------------------------------------------------------------------------------------------
# The examples, run


def show_examples(service: Client, screen: Console, urls: Sequence[str], save: Path | None) -> None:
    """Each call once on the sample pictures, and what came of it."""
    hopper, group = ((SAMPLES / name).read_bytes() for name in ("grace_hopper.jpg", "group.jpg"))
    crops = aligned_crops(service, group)
    drawn = draw_detections(service, group)
    table = Table("call", "what came of it", box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap, table.columns[1].overflow = True, "fold"
    table.add_row("extract", told(extract(service, [hopper, group])))
    table.add_row("extract_one", told([extract_one(service, hopper)]))
    fetched = extract_urls(service, urls)
    remedy = "\nits paths start at ROOT_IMAGES_DIR; --urls names others" * any(
        image.status != "ok" for image in fetched
    )
    table.add_row("extract_urls", told(fetched) + remedy)
    table.add_row("aligned_crops", f"{len(crops)} crops, {sum(map(len, crops))} bytes")
    table.add_row("embed_crops", f"{len(embed_crops(service, crops))} embeddings of these crops")
    table.add_row("draw_detections", f"a JPEG file of {len(drawn)} bytes")
    table.add_row("verify", verified(service, hopper))
    screen.print(table)
    if save is not None:
        screen.print(f"{write_drawn(save, 'group.jpg', drawn)} has the faces drawn in", soft_wrap=True)


def told(images: Sequence[ExtractedImage]) -> str:
    """One line an image."""
    return "\n".join(printable(told_image(image)) for image in images)


def told_image(image: ExtractedImage) -> str:
    if image.status != "ok":
        return f"failed: {image.traceback}"
    faces = image.faces
    if not faces:
        return "no face"
    size = len(faces[0].vec or ())
    vector = f", {size} numbers a face" if size else ""
    return f"{len(faces)} face{'s' * (len(faces) > 1)}, best score {number(faces[0].prob, 3)}{vector}"


def verified(service: Client, hopper: bytes) -> str:
    """A portrait against the group picture, whose largest face is the same person's, and against another portrait."""
    astronaut, group = ((SAMPLES / name).read_bytes() for name in ("astronaut.jpg", "group.jpg"))
    same, different = verify(service, hopper, group), verify(service, hopper, astronaut)
    limit = recommended_limit(service)
    said = f" (the limit: {limit:g})" if limit is not None else ""
    return f"one person {same:.3f}, two persons {different:.3f}{said}"


def recommended_limit(service: Client) -> float | None:
    """The least similarity of one person, where the service tells it of its recognition network."""
    try:
        networks = service.models()
    except Refused:  # InsightFace-REST has no such route
        return None
    return next((network.threshold for network in networks if network.loaded and network.threshold), None)


# ---------------------------------------------------------------------------------------------------------------------
# The command line


INTERRUPTED = 130  # what shells make of Ctrl-C


class Stop(Exception):
    """The demonstration cannot go on; its text is the one line that is said."""


def truth(text: str) -> bool:
    """True or False as the options take it."""
    known = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return known[text.lower()]


def count(text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return int(text)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Finds faces with a running visage and shows them, with throughput.")
    natural = partial(count, least=0)

    def add(*names: str, **how: Any) -> None:
        parser.add_argument(*names, **how)

    def switch(*names: str, default: bool, about: str) -> None:
        add(*names, nargs="?", const=True, type=truth, default=default, metavar="True|False", help=about)

    add("-p", "--port", type=count, default=18081, help="port of the service; after `make serve` say -p 18080 (18081)")
    add("-u", "--uri", default="http://localhost", help="where the service runs, with protocol (http://localhost)")
    add("-i", "--iters", type=count, default=10, help="how often all files are sent (10)")
    add("-t", "--threads", type=count, default=12, help="requests at a time (12)")
    add("-b", "--batch", type=count, default=64, help="files of one request (64)")
    add("-d", "--dir", type=Path, help="folder of pictures, with the folders below it (the sample pictures)")
    add("-n", "--num_files", type=count, default=10000, help="at most so many files an iteration; see --cycle (10000)")
    add("-lf", "--limit_faces", type=natural, default=0, help="only so many of the largest faces a picture; 0: all (0)")
    switch("--embed", default=True, about="embeddings too, else detection only (True)")
    switch("--embed_only", default=False, about="the files are aligned 112x112 crops: no detection (False)")
    switch("--use_msgpack", default=True, about="msgpack both ways, else JSON with base64 (True)")
    switch("--cycle", default=False, about="repeat the files until they are num_files, to put load on (False)")
    add("--save", type=Path, metavar="OUT", help="folder that takes the pictures with their faces drawn in")
    add("--rows", type=natural, default=40, help="lines of a table; 0: all (40)")
    add("--examples", action="store_true", help="make each call of the service once, on the sample pictures")
    add("--urls", nargs="+", default=["grace_hopper.jpg"], help="what --examples lets the service fetch")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options()
    args = parser.parse_args(arguments)
    screen = Console(markup=False, highlight=False, emoji=False)
    try:
        service = connect(args.uri, args.port, args.threads, use_msgpack=args.use_msgpack)
    except ValueError as exc:
        parser.error(str(exc))
    with service:
        try:
            return demonstrate(service, screen, args)
        except KeyboardInterrupt:
            return INTERRUPTED
        except NoAnswer as exc:
            absent = isinstance(exc.__cause__, httpx.ConnectError)
            remedy = f"No service at {service.url}: start it with `make serve` and say -p 18080, or give its -p and -u"
            said = remedy if absent else f"The service at {service.url} does not answer: {exc.__cause__ or exc}"
        except (OSError, Stop, VisageError) as exc:
            said = str(exc)
    print(printable(said), file=sys.stderr)
    return 1


def demonstrate(service: Client, screen: Console, args: argparse.Namespace) -> int:
    info = networks_of(service)
    said = f"{service.url}: detection {info.models['det_name']}, recognition {info.models['rec_name']}"
    screen.print(printable(said), soft_wrap=True)
    if args.examples:
        show_examples(service, screen, args.urls, args.save)
        return 0
    return show_run(service, screen, args, info)


def networks_of(service: Client) -> Info:
    """What /info says. Raises Stop where that is no face service."""
    try:
        info = service.info()
    except (BadAnswer, Refused) as exc:
        if isinstance(exc, Refused) and exc.status in (401, 403):
            raise Stop(f"The service at {service.url} asks for a key: put it into VISAGE_KEY ({exc.detail})") from None
        raise Stop(f"What answers at {service.url} is no face service: give another -p or -u") from None
    if not {"det_name", "rec_name"} <= info.models.keys():
        raise Stop(f"What answers at {service.url} is no face service: give another -p or -u")
    return info


def show_run(service: Client, screen: Console, args: argparse.Namespace, info: Info) -> int:
    """Send the files, show faces, failures and throughput. 0 if any picture was read."""
    pictures = chosen(service, args)
    sent = repeated(pictures, args.num_files) if args.cycle else pictures
    batches = [sent[i : i + args.batch] for i in range(0, len(sent), args.batch)]
    fields = {
        "extract_embedding": args.embed,
        "extract_ga": args.embed and bool(info.models.get("ga_name")),
        "embed_only": args.embed_only,
        "limit_faces": args.limit_faces,
    }
    ask = partial(extract, service, **fields)
    with progress_of(len(sent) * args.iters) as done:
        results, answers, seconds = post_all(ask, batches, args.iters, args.threads, done)
    results = results[: len(pictures)]
    show_results(screen, results, args.rows)
    if answers:
        screen.print(summary_table(answers, seconds))
    if args.save is not None and not args.embed_only:
        save_all(service, screen, pictures, results, args)
    if len(answers) < len(batches) * args.iters:
        return INTERRUPTED
    return 0 if any(not result.reason for result in results) else 1


def chosen(service: Client, args: argparse.Namespace) -> list[Picture]:
    """The pictures that the options name. Raises Stop if there are none."""
    if args.dir is None:
        pictures = sample_crops(service) if args.embed_only else sample_pictures()
    elif args.dir.is_dir():
        pictures = files_below(args.dir)
    else:
        raise Stop(f"{args.dir} is no folder")
    if not pictures:
        raise Stop(f"{args.dir or SAMPLES} has no files")
    return pictures[: args.num_files]


def repeated(pictures: Sequence[Picture], wanted: int) -> list[Picture]:
    return [pictures[i % len(pictures)] for i in range(wanted)]


def show_results(screen: Console, results: Sequence[Result], rows: int) -> None:
    if any(result.faces for result in results):
        screen.print(faces_table(results, rows))
    if any(result.reason for result in results):
        screen.print(failures_table(results, rows))
    without = [printable(result.name) for result in results if not result.faces and not result.reason]
    if without:
        more = f" and {len(without) - rows} more" if 0 < rows < len(without) else ""
        screen.print(f"no face in: {', '.join(without[: rows or None])}{more}\n")


def save_all(
    service: Client, screen: Console, pictures: Sequence[Picture], results: Sequence[Result], args: Any
) -> None:
    """Write each picture that was read with its faces drawn in."""
    saved = 0
    for picture, result in zip(pictures, results, strict=False):
        if not result.reason:
            drawn = draw_detections(service, picture.read(), limit_faces=args.limit_faces)
            write_drawn(args.save, picture.name, drawn)
            saved += 1
    screen.print(f"\n{saved} pictures with their faces drawn in are in {printable(str(args.save))}", soft_wrap=True)


def write_drawn(folder: Path, name: str, jpeg: bytes) -> Path:
    """a/b.png → folder/a/faces_b.png.jpg: never the name of a picture that was sent."""
    source = Path(name)
    ending = "" if source.suffix.lower() in (".jpg", ".jpeg") else ".jpg"
    place = folder / source.parent / f"faces_{source.name}{ending}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(jpeg)
    return place


if __name__ == "__main__":
    sys.exit(main())
