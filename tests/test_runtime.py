import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.attributes import aged, softmaxed, toned
from tests.networks import Embedder, Layout, dense, heads, scrfd_heads
from tests.support import REPO, models_folder, settings_of, threads_since
from visage import runtime
from visage.backends.base import Asking, Largest, Means
from visage.choice import choose
from visage.cores import available
from visage.deadline import Deadline
from visage.errors import BackendUnavailable, ConfigurationError, DownloadFailed, GraphRejected, UnknownModel
from visage.faces import GenderAge, Image, ImageFaces, Outcome
from visage.options import ExtractOptions
from visage.runtime import Runtime, _waiting, cores, model_file, open_runtime, prepare, try_model
from visage.zoo.catalogue import Catalogue, Entry, Licence
from visage.zoo.reading import parse_catalogue, read_catalogue
from visage.zoo.store import Prepared

CATALOGUE = read_catalogue(REPO / "models")
SHIPPED = json.loads((REPO / "models" / "models.json").read_text("utf-8"))
MIT = {"licence": {"id": "MIT"}}


class Silent:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []
        self.stages: list[str] = []

    def image(self, outcome: Outcome, /) -> None: ...

    def waiting(self, stage: str, model: str, /) -> Callable[[int], None]:
        return lambda _: None

    def stage(self, name: str, seconds: float, /) -> None:
        self.stages.append(name)

    def batch(self, stage: str, size: int, /) -> None:
        self.batches.append((stage, size))


def opened(**environ: str) -> Runtime:
    return open_runtime(settings_of(**environ), Silent())


def faces(runtime: Runtime, image: Image, options: ExtractOptions) -> ImageFaces:
    return asyncio.run(runtime.service.faces(image, options, Deadline(100)))


def closed(runtime: Runtime) -> None:
    asyncio.run(runtime.aclose())


# -- choosing -----------------------------------------------------------------------------------------------------


def chosen(**environ: str) -> dict[str, str]:
    return {role: entry.name for role, entry in choose(settings_of(**environ), CATALOGUE).entries().items()}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {"det": "yunet", "rec": "sface"}),
        ({"DET_NAME": "scrfd_10g_bnkps", "REC_NAME": "w600k_r50"}, {"det": "scrfd_10g_bnkps", "rec": "w600k_r50"}),
        ({"REC_NAME": "None"}, {"det": "yunet"}),
        ({"REC_NAME": "null"}, {"det": "yunet"}),
        ({"REC_IGNORE": "true"}, {"det": "yunet"}),
        ({"REC_IGNORE": "True", "REC_NAME": "no_such_model"}, {"det": "yunet"}),
        ({"GA_NAME": "None", "MASK_DETECTOR": "None"}, {"det": "yunet", "rec": "sface"}),
        ({"GA_NAME": "none", "MASK_DETECTOR": ""}, {"det": "yunet", "rec": "sface"}),
        ({"GA_NAME": "genderage_v1"}, {"det": "yunet", "rec": "sface", "ga": "genderage_v1"}),
        ({"GA_MODEL": "genderage_v1"}, {"det": "yunet", "rec": "sface", "ga": "genderage_v1"}),
        ({"MASK_DETECTOR": "mask_detector"}, {"det": "yunet", "rec": "sface", "mask": "mask_detector"}),
        (
            {"REC_NAME": "None", "GA_NAME": "genderage_v1", "MASK_DETECTOR": "mask_detector112"},
            {"det": "yunet", "ga": "genderage_v1", "mask": "mask_detector112"},
        ),
        ({"GA_NAME": "genderage_v1", "GA_IGNORE": "true"}, {"det": "yunet", "rec": "sface"}),
    ],
)
def test_the_settings_choose_the_networks(environ: dict[str, str], expected: dict[str, str]) -> None:
    assert chosen(**environ) == expected


@pytest.mark.parametrize(
    ("environ", "parts"),
    [
        ({"DET_NAME": "retina"}, ["DET_NAME='retina'", "not in the catalogue", "yunet", "scrfd_10g_bnkps"]),
        ({"REC_NAME": "facenet"}, ["REC_NAME='facenet'", "not in the catalogue", "sface", "glintr100"]),
        ({"DET_NAME": "sface"}, ["DET_NAME='sface'", "is a recognition model", "detection"]),
        ({"REC_NAME": "yunet"}, ["REC_NAME='yunet'", "is a detection model", "recognition"]),
        ({"GA_NAME": "yunet"}, ["GA_NAME='yunet'", "is a detection model", "GA_NAME names one for attributes-gender"]),
        ({"GA_NAME": "mask_detector"}, ["GA_NAME='mask_detector'", "is an attributes-mask model"]),
        ({"REC_NAME": "genderage_v1"}, ["REC_NAME='genderage_v1'", "is an attributes-gender-age model", "recognition"]),
        ({"LANDMARKS_NAME": "yunet"}, ["LANDMARKS_NAME='yunet'", "is a detection model", "one for landmarks-106"]),
        ({"LANDMARKS_NAME": "lmk"}, ["LANDMARKS_NAME='lmk'", "not in the catalogue", "for landmarks-106 there are: "]),
        ({"GA_NAME": "age"}, ["GA_NAME='age'", "not in the catalogue", "there are: genderage_v1"]),
        ({"MASK_DETECTOR": "no"}, ["MASK_DETECTOR='no'", "not in the catalogue", "mask_detector, mask_detector112"]),
    ],
)
def test_a_choice_that_cannot_be_met_names_the_variable_and_what_there_is(
    environ: dict[str, str], parts: list[str]
) -> None:
    with pytest.raises(UnknownModel) as caught:
        chosen(**environ)
    assert all(part in str(caught.value) for part in parts) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "more"),
    [
        ("", ()),
        ("scrfd_10g_bnkps", ("scrfd_10g_bnkps",)),
        (" w600k_r50 , scrfd_10g_bnkps ,", ("w600k_r50", "scrfd_10g_bnkps")),
        ("sface,w600k_r50,yunet", ("sface", "w600k_r50", "yunet")),  # the defaults may be named again
    ],
)
def test_further_networks_stand_beside_the_defaults(names: str, more: tuple[str, ...]) -> None:
    choice = choose(settings_of(MODELS_LOADED=names), CATALOGUE)
    assert tuple(entry.name for entry in choice.more) == more
    assert {role: entry.name for role, entry in choice.entries().items()} == {"det": "yunet", "rec": "sface"}


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        (
            "retina",
            UnknownModel,
            "MODELS_LOADED: 'retina' is not in the catalogue; of detection and recognition there are: yunet, sface, ",
        ),
        ("scrfd_10g_bnkps,glintr", UnknownModel, "MODELS_LOADED: 'glintr' is not in the catalogue; "),
        ("glintr100,glintr100", ConfigurationError, "MODELS_LOADED names 'glintr100' twice; name each once: glintr100"),
        (
            "sface,glintr100,sface",
            ConfigurationError,
            "MODELS_LOADED names 'sface' twice; name each once: sface, glintr100",
        ),
        (
            "genderage_v1",
            ConfigurationError,
            "MODELS_LOADED: 'genderage_v1' is an attributes-gender-age model; name it in GA_NAME",
        ),
        (
            "mask_detector",
            ConfigurationError,
            "MODELS_LOADED: 'mask_detector' is an attributes-mask model; name it in MASK_DETECTOR",
        ),
    ],
)
def test_further_networks_that_cannot_stand_there_are_refused_with_the_remedy(
    names: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        choose(settings_of(MODELS_LOADED=names), CATALOGUE)
    told = str(caught.value)
    assert told.startswith(said) and "\n" not in told
    assert "genderage_v1," not in told  # what is offered can stand there


def test_a_pack_s_networks_are_named_one_by_one() -> None:
    def pack() -> dict[str, Entry]:
        members = {"box.det": "scrfd", "box.rec": "arcface", "box.ages": "genderage"}
        return {name: Entry(name=name, family=family, licence=Licence(id="mit")) for name, family in members.items()}

    catalogue = Catalogue(CATALOGUE.entries, {"box": pack})
    assert [e.name for e in choose(settings_of(MODELS_LOADED="box.rec,box.det"), catalogue).more] == [
        "box.rec",
        "box.det",
    ]
    for name, said in (
        ("box", "MODELS_LOADED: 'box' is a pack; name its networks: box.det, box.rec"),
        ("box.ages", "MODELS_LOADED: 'box.ages' is an attributes-gender-age model; name it in GA_NAME"),
        ("box.none", "MODELS_LOADED: 'box.none' is not in the catalogue; "),
    ):
        with pytest.raises(ConfigurationError) as caught:
            choose(settings_of(MODELS_LOADED=name), catalogue)
        assert str(caught.value).startswith(said)


def test_the_choices_offered_do_what_the_variable_is_for() -> None:
    with pytest.raises(UnknownModel) as caught:
        chosen(DET_NAME="retina")
    assert "sface" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "error"),
    [
        ({"INFERENCE_BACKEND": "trt"}, BackendUnavailable),
        ({"URL_ALLOW": "10.0.0.0/99"}, ConfigurationError),
        ({"DET_NAME": "retina"}, UnknownModel),
        ({"MODELS_LOADED": "sface,retina"}, UnknownModel),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_file_is_made(
    tmp_path: Path, environ: dict[str, str], error: type[Exception]
) -> None:
    models_folder(tmp_path, SHIPPED, {})
    with pytest.raises(error):
        prepare(settings_of(MODELS_DIR=str(tmp_path), **environ))
    assert not (tmp_path / "onnx").exists()


def test_a_network_that_is_put_by_hand_and_is_not_there_is_answered_with_its_place(tmp_path: Path) -> None:
    models_folder(tmp_path, {"mine": {"family": "scrfd", **MIT}}, {})
    with pytest.raises(DownloadFailed, match=r"onnx/mine/mine\.onnx; put the ONNX file there"):
        prepare(settings_of(MODELS_DIR=str(tmp_path), DET_NAME="mine", REC_NAME="None"))


def test_the_cores_are_those_that_are_set_or_shared_between_the_workers() -> None:
    mine = available().count

    assert cores(settings_of(INFERENCE_THREADS="3", NUM_WORKERS="8")) == 3
    assert cores(settings_of()) == mine
    assert cores(settings_of(NUM_WORKERS="64")) == max(1, mine // 64)


def test_who_waits_for_servers_takes_no_core() -> None:
    assert _waiting(settings_of(TRITON_STREAMS="5")) == 0
    assert _waiting(settings_of(INFERENCE_BACKEND="triton", TRITON_URI="localhost:8001", TRITON_STREAMS="5")) == 5


def test_a_file_is_tried_here_whoever_is_to_compute_it(models_dir: Path) -> None:
    settings = settings_of(
        MODELS_DIR=str(models_dir), INFERENCE_BACKEND="triton", TRITON_URI="localhost:1", TRITON_TIMEOUT="3"
    )
    file = models_dir / "onnx" / "sface" / "sface.prepared.onnx"
    assert try_model(CATALOGUE["sface"], file, settings) == try_model(CATALOGUE["sface"], file, settings_of())


def test_a_backend_is_told_how_its_servers_are_asked() -> None:
    settings = settings_of(
        INFERENCE_BACKEND="triton",
        TRITON_URI="a,b:9",
        TRITON_TIMEOUT="2.5",
        TRITON_STREAMS="3",
        TRITON_SHARED_MEMORY="off",
    )
    told = model_file(settings, CATALOGUE["sface"], Prepared(Path("sface.onnx"), "0" * 64, True)).means
    assert told.servers == ("a:8001", "b:9") and told.asking == Asking(2.5, 3, False)


# -- opening ------------------------------------------------------------------------------------------------------


def test_an_open_runtime_answers_faces_and_says_what_it_runs_with(models_dir: Path, hopper: bytes) -> None:
    watcher = Silent()
    runtime = open_runtime(settings_of(MODELS_DIR=str(models_dir)), watcher)
    try:
        assert [model.described() for model in runtime.networks.defaults.values()] == [
            f"{name}@{SHIPPED[name]['sha256'][:12]}" for name in ("yunet", "sface")
        ]
        assert runtime.seconds > 0
        image = runtime.service._decoder.decode(hopper)
        found = faces(runtime, image, ExtractOptions(0.6, embedding=True))
        assert len(found.faces) == 1 and found.faces[0].embedding is not None
        assert {"detection", "embedding"} <= {stage for stage, _ in watcher.batches}
        assert {"detect", "align", "embed"} <= set(watcher.stages)
    finally:
        closed(runtime)


@pytest.mark.parametrize("environ", [{"REC_NAME": "None"}, {"REC_IGNORE": "true"}])
def test_without_recognition_faces_are_found_and_the_missing_network_is_said(
    models_dir: Path, hopper: bytes, environ: dict[str, str]
) -> None:
    runtime = opened(MODELS_DIR=str(models_dir), **environ)
    try:
        assert list(runtime.networks.defaults) == ["det"]
        assert [network.stage for network in runtime.service.rack.standing()] == ["detection"]
        image = runtime.service._decoder.decode(hopper)
        found = faces(runtime, image, ExtractOptions(0.6, embedding=True))
        assert len(found.faces) == 1 and found.faces[0].embedding is None
        assert any("REC_NAME" in note for note in found.warnings)
    finally:
        closed(runtime)


def _with(models_dir: Path, folder: Path, name: str, **fields: Any) -> Path:
    """The prepared models folder with other fields in the catalogue's entry `name`."""
    shutil.copytree(models_dir / "onnx", folder / "onnx")
    return models_folder(folder, {**SHIPPED, name: {**SHIPPED[name], **fields}}, {})


@pytest.mark.parametrize("name", ["yunet", "sface"])
@pytest.mark.parametrize("at", [0, 4])
def test_a_network_whose_numbers_are_not_the_known_ones_is_not_served(
    models_dir: Path, tmp_path: Path, name: str, at: int
) -> None:
    known = list(SHIPPED[name]["canonical"]["numbers"])
    known[at] += 0.02
    folder = _with(models_dir, tmp_path / "models", name, canonical={"numbers": known, "tolerance": 0.01})
    with pytest.raises(
        GraphRejected,
        match=rf"^{name}, computed by onnx on cpu, failed its self-test: number {at} is .*, not {known[at]:.4f}",
    ):
        opened(MODELS_DIR=str(folder))


def test_wrong_colours_are_found_by_the_self_test_fault_03(models_dir: Path, tmp_path: Path) -> None:
    folder = _with(models_dir, tmp_path / "models", "sface", preprocess={"mean": 0.0, "std": 1.0, "colours": "bgr"})
    with pytest.raises(GraphRejected, match=r"^sface, computed by onnx on cpu, failed its self-test"):
        opened(MODELS_DIR=str(folder))


def test_a_recogniser_of_the_wrong_shape_is_not_served(models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(models_dir / "onnx", folder / "onnx")
    file = dense(tmp_path / "a.onnx", scrfd_heads())
    models_folder(folder, {**SHIPPED, "mine": {"family": "arcface", **MIT}}, {"mine": file})
    with pytest.raises(GraphRejected, match=r"one output \(N, D\)"):
        opened(MODELS_DIR=str(folder), REC_NAME="mine")


def test_a_tiny_pair_put_by_hand_is_served_without_a_change_of_code(tmp_path: Path) -> None:
    folder = _tiny(tmp_path / "models", tmp_path)
    runtime = opened(MODELS_DIR=str(folder), DET_NAME="tiny_detector", REC_NAME="tiny_embedder", MAX_SIZE="96,64")
    try:
        picture = Image(runtime.service._decoder.decode((REPO / "src/visage/data/selftest.png").read_bytes()).pixels)
        found = faces(runtime, picture, ExtractOptions(0.5, embedding=True))
        assert found.faces and all(face.embedding and len(face.embedding.vector) == 6 for face in found.faces)
    finally:
        closed(runtime)


def _tiny(folder: Path, tmp_path: Path) -> Path:
    """A models folder with a detector shaped like SCRFD and an embedder, both of a few kilobytes."""
    return models_folder(
        folder,
        {"tiny_detector": {"family": "scrfd", **MIT}, "tiny_embedder": {"family": "arcface", **MIT}},
        {
            "tiny_detector": dense(tmp_path / "d.onnx", scrfd_heads()),
            "tiny_embedder": Embedder.of(6).save(tmp_path / "e.onnx"),
        },
    )


def test_a_catalogue_without_a_network_for_the_task_says_none() -> None:
    catalogue = parse_catalogue({"yunet": SHIPPED["yunet"], "sface": SHIPPED["sface"]})
    with pytest.raises(UnknownModel, match=r"^GA_NAME='genderage_v1' is not .*; for attributes-gender-age .*: none$"):
        choose(settings_of(GA_NAME="genderage_v1"), catalogue)


# -- several ------------------------------------------------------------------------------------------------------


def _several(tmp_path: Path) -> dict[str, str]:
    """The environment of a service with two detectors and two embedders of a few kilobytes."""
    folder = _tiny(tmp_path / "models", tmp_path)
    entries = json.loads((folder / "models.json").read_text("utf-8"))
    more = {"other_detector": {"family": "scrfd", **MIT}, "other_embedder": {"family": "arcface", **MIT}}
    files = {
        "other_detector": dense(
            tmp_path / "od.onnx", heads({"score": 1, "bbox": 4, "kps": 10}, anchors=2, sigmoid=["score"], seed=8)
        ),
        "other_embedder": Embedder.of(9).save(tmp_path / "oe.onnx"),
    }
    models_folder(folder, entries | more, files)
    pair = {"DET_NAME": "tiny_detector", "REC_NAME": "tiny_embedder", "MODELS_LOADED": "other_embedder,other_detector"}
    return {"MODELS_DIR": str(folder), "MAX_SIZE": "96,64", **pair}


def test_all_networks_are_prepared_loaded_tested_and_warm_and_each_answers_for_itself(tmp_path: Path) -> None:
    watcher = Silent()
    runtime = open_runtime(settings_of(**_several(tmp_path)), watcher)
    try:
        assert {role: list(models) for role, models in runtime.networks.named.items()} == {
            "det": ["tiny_detector", "other_detector"],
            "rec": ["tiny_embedder", "other_embedder"],
        }
        assert watcher.batches.count(("detection", 1)) == 6  # two pictures each, and one as among others
        assert watcher.batches.count(("embedding", 4)) == 2
        picture = Image(runtime.service._decoder.decode((REPO / "src/visage/data/selftest.png").read_bytes()).pixels)
        answers = {}
        for detector in (None, "tiny_detector", "other_detector"):
            for recogniser in (None, "tiny_embedder", "other_embedder"):
                options = ExtractOptions(0.5, limit_faces=3, detector=detector, recogniser=recogniser)
                answers[detector, recogniser] = faces(runtime, picture, options).faces
        for (_, recogniser), found in answers.items():
            lengths = {len(face.embedding.vector) for face in found if face.embedding}
            assert lengths == {9 if recogniser == "other_embedder" else 6}
        boxes = {key: [face.box.tolist() for face in found] for key, found in answers.items()}
        assert boxes[None, None] == boxes["tiny_detector", "other_embedder"] != boxes["other_detector", None]
    finally:
        closed(runtime)


def test_a_network_that_is_named_answers_as_where_it_is_the_default(tmp_path: Path) -> None:
    environ = _several(tmp_path)
    others = {"DET_NAME": "other_detector", "REC_NAME": "other_embedder", "MODELS_LOADED": ""}
    answers = []
    for asked, more in (({"detector": "other_detector", "recogniser": "other_embedder"}, {}), ({}, others)):
        runtime = opened(**(environ | more))
        try:
            picture = runtime.service._decoder.decode((REPO / "src/visage/data/selftest.png").read_bytes())
            found = faces(runtime, picture, ExtractOptions(0.5, limit_faces=5, **asked)).faces  # type: ignore[arg-type]
            answers.append([(f.box.tolist(), f.embedding and f.embedding.vector.tolist()) for f in found])
        finally:
            closed(runtime)
    assert answers[0] == answers[1] and len(answers[0]) == 5


def test_a_network_named_twice_is_loaded_once(tmp_path: Path) -> None:
    environ = _several(tmp_path) | {"MODELS_LOADED": "tiny_embedder,other_embedder,tiny_detector"}
    runtime = opened(**environ)
    try:
        assert [(network.stage, network.name) for network in runtime.service.rack.standing()] == [
            ("detection", "tiny_detector"),
            ("embedding", "tiny_embedder"),
            ("embedding", "other_embedder"),
        ]
    finally:
        closed(runtime)


@pytest.mark.parametrize("environ", [{"REC_NAME": "None"}, {"REC_IGNORE": "true"}])
def test_without_a_default_a_recogniser_answers_where_it_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    runtime = opened(**(_several(tmp_path) | environ))
    try:
        assert list(runtime.networks.defaults) == ["det"]
        picture = Image(runtime.service._decoder.decode((REPO / "src/visage/data/selftest.png").read_bytes()).pixels)
        unnamed = faces(runtime, picture, ExtractOptions(0.5, limit_faces=1))
        named = faces(runtime, picture, ExtractOptions(0.5, limit_faces=1, recogniser="other_embedder"))
        assert unnamed.faces[0].embedding is None and "REC_NAME" in unnamed.warnings[-1]
        assert named.faces[0].embedding is not None and named.warnings == ()
    finally:
        closed(runtime)


def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    environ = _several(tmp_path)
    shutil.copyfile(tmp_path / "od.onnx", Path(environ["MODELS_DIR"]) / "onnx/other_embedder/other_embedder.onnx")
    before = threading.enumerate()
    with pytest.raises(GraphRejected, match=r"one output \(N, D\)"):
        opened(**environ)
    assert threads_since(before) == []


def test_idle_networks_are_unloaded_and_answer_the_same_when_they_are_needed_again(tmp_path: Path) -> None:
    runtime = opened(**_several(tmp_path), MODELS_IDLE_SECONDS="0.01")
    picture = Image(runtime.service._decoder.decode((REPO / "src/visage/data/selftest.png").read_bytes()).pixels)
    options = ExtractOptions(0.5, limit_faces=3, recogniser="other_embedder")

    async def work() -> None:
        ask = runtime.service.faces
        before = await ask(picture, options, Deadline(100))
        await asyncio.sleep(0.02)
        await runtime.service.rack.rest()
        assert not any(network.in_memory for network in runtime.service.rack.standing())
        after = await asyncio.gather(*(ask(picture, options, Deadline(100)) for _ in range(6)))
        for again in after:
            for one, other in zip(before.faces, again.faces, strict=True):
                assert one.embedding and other.embedding
                assert (one.box == other.box).all() and (one.embedding.vector == other.embedding.vector).all()
        await runtime.aclose()

    asyncio.run(work())


# -- attributes ---------------------------------------------------------------------------------------------------


def _attributes(models_dir: Path, tmp_path: Path, *, age: int = 50, mask_bias: float = -5.0) -> Path:
    """The prepared models folder with a gender and age network and a mask network of a few kilobytes."""
    folder = tmp_path / "models"
    shutil.copytree(models_dir / "onnx", folder / "onnx")
    families = {
        "tiny_ages": "genderage",
        "tiny_squares": "genderage",
        "tiny_masks": "mask",
        "tiny_points": "landmarks106",
    }
    entries = {**SHIPPED, **{name: {"family": kind, **MIT} for name, kind in families.items()}}
    files = {
        "tiny_squares": toned(tmp_path / "s.onnx"),
        "tiny_points": Embedder(Embedder.of(212).matrix / 5000).save(tmp_path / "p.onnx", side=192),
        "tiny_ages": aged(tmp_path / "a.onnx", 1, age),
        "tiny_masks": softmaxed(tmp_path / "m.onnx", 224, (mask_bias, 0.0)),
    }
    return models_folder(folder, entries, files)


@pytest.mark.parametrize(
    ("environ", "stages"),
    [
        ({"GA_NAME": "tiny_ages", "MASK_DETECTOR": "tiny_masks"}, {"gender_age", "masks"}),
        ({"GA_NAME": "tiny_ages"}, {"gender_age"}),
        ({"GA_NAME": "tiny_ages", "GA_IGNORE": "true", "MASK_DETECTOR": "tiny_masks"}, {"masks"}),
    ],
)
def test_attributes_are_answered_by_the_networks_that_the_settings_name(
    models_dir: Path, tmp_path: Path, hopper: bytes, environ: dict[str, str], stages: set[str]
) -> None:
    watcher = Silent()
    settings = settings_of(MODELS_DIR=str(_attributes(models_dir, tmp_path)), REC_NAME="None", **environ)
    runtime = open_runtime(settings, watcher)
    try:
        # Warm before the first request: every number of crops that a run may take has been through.
        assert {run for run in watcher.batches if run[0] != "detection"} == {
            (stage, count) for stage in stages for count in (1, 2, 4)
        }
        image = runtime.service._decoder.decode(hopper)
        options = ExtractOptions(0.6, embedding=False, gender_age=True, masks=True)
        found = faces(runtime, image, options)
        (face,) = found.faces
        assert face.gender_age == (GenderAge(1, 50) if "gender_age" in stages else None)
        assert (face.mask is not None) == ("masks" in stages) and not (face.mask and face.mask.worn)
        missing = [
            name for name, stage in (("GA_NAME", "gender_age"), ("MASK_DETECTOR", "masks")) if stage not in stages
        ]
        assert [note.rsplit("(", 1)[1] for note in found.warnings] == [f"{name})" for name in missing]
    finally:
        closed(runtime)


@pytest.mark.parametrize(
    ("variable", "name", "wrong", "said"),
    [
        ("GA_NAME", "tiny_ages", {"age": 17}, "(GA_NAME) calls an old woman 17 years old"),
        ("MASK_DETECTOR", "tiny_masks", {"mask_bias": 5.0}, "(MASK_DETECTOR) sees a mask"),
    ],
)
def test_a_network_of_attributes_that_seems_wrongly_fed_is_served_and_remarked_upon(
    models_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    name: str,
    wrong: dict[str, Any],
    said: str,
) -> None:
    folder = _attributes(models_dir, tmp_path, **wrong)
    closed(opened(MODELS_DIR=str(folder), REC_NAME="None", **{variable: name}))
    assert said in caplog.text


@pytest.mark.parametrize(
    ("variable", "family", "layout", "said"),
    [
        ("GA_NAME", "genderage", "nchw", r"one output \(N, 202\)"),
        ("MASK_DETECTOR", "mask", "nhwc", r"one output \(N, 2\)"),
    ],
)
def test_a_network_of_attributes_of_the_wrong_shape_is_not_served(
    models_dir: Path, tmp_path: Path, variable: str, family: str, layout: Layout, said: str
) -> None:
    folder = _attributes(models_dir, tmp_path)
    entries = json.loads((folder / "models.json").read_text("utf-8"))
    entries["embedder"] = {"family": family, **MIT}
    models_folder(folder, entries, {"embedder": Embedder.of(6).save(tmp_path / "e.onnx", layout=layout)})
    with pytest.raises(GraphRejected, match=said):
        opened(MODELS_DIR=str(folder), REC_NAME="None", **{variable: "embedder"})


def test_known_numbers_of_attributes_are_held_against_what_comes(models_dir: Path, tmp_path: Path) -> None:
    folder = _attributes(models_dir, tmp_path)
    entries = json.loads((folder / "models.json").read_text("utf-8"))
    entries["tiny_ages"]["canonical"] = {"numbers": [1, 53], "tolerance": 2}
    models_folder(folder, entries, {})
    with pytest.raises(
        GraphRejected,
        match=r"^tiny_ages, computed by onnx on cpu, failed its self-test: number 1 is 50\.0000, not 53\.0000",
    ):
        opened(MODELS_DIR=str(folder), REC_NAME="None", GA_NAME="tiny_ages")


def test_a_network_of_landmarks_is_loaded_tested_warmed_and_told_as_lmk(
    models_dir: Path, tmp_path: Path, hopper: bytes
) -> None:
    watcher = Silent()
    folder = _attributes(models_dir, tmp_path)
    runtime = open_runtime(settings_of(MODELS_DIR=str(folder), REC_NAME="None", LANDMARKS_NAME="tiny_points"), watcher)
    try:
        assert list(runtime.networks.defaults) == ["det", "lmk"]
        assert {run for run in watcher.batches if run[0] == "landmarks"} == {("landmarks", n) for n in (1, 2, 4)}
        image = runtime.service._decoder.decode(hopper)
        options = ExtractOptions(0.6, embedding=False, landmarks_106=True)
        (face,) = faces(runtime, image, options).faces
        assert face.landmarks_106 is not None and face.landmarks_106.shape == (106, 2)
        # The tiny network says little more than the middle of the crop.
        middle = (face.box[:2] + face.box[2:]) / 2
        assert abs(face.landmarks_106.mean(axis=0) - middle).max() < 0.2 * (face.box[2] - face.box[0])
    finally:
        closed(runtime)


def test_a_network_of_landmarks_of_the_wrong_shape_is_not_served(models_dir: Path, tmp_path: Path) -> None:
    folder = _attributes(models_dir, tmp_path)
    entries = {**json.loads((folder / "models.json").read_text("utf-8")), "wrong": {"family": "landmarks106", **MIT}}
    models_folder(folder, entries, {"wrong": Embedder.of(6).save(tmp_path / "w.onnx", side=192)})
    with pytest.raises(GraphRejected, match=r"one output \(N, 212\), this one"):
        opened(MODELS_DIR=str(folder), REC_NAME="None", LANDMARKS_NAME="wrong")


def test_known_numbers_of_landmarks_are_held_against_what_comes(models_dir: Path, tmp_path: Path) -> None:
    folder = _attributes(models_dir, tmp_path)
    entries = json.loads((folder / "models.json").read_text("utf-8"))
    entries["tiny_points"]["canonical"] = {"numbers": [0.1, 0.5, 0.5, 0.5, 0.1]}
    models_folder(folder, entries, {})
    with pytest.raises(
        GraphRejected, match=r"^tiny_points, computed by onnx on cpu, failed its self-test: number 0 is "
    ):
        opened(MODELS_DIR=str(folder), REC_NAME="None", LANDMARKS_NAME="tiny_points")


@pytest.mark.parametrize("network", ["tiny_ages", "tiny_squares"])
def test_gender_and_age_do_not_depend_on_the_recogniser_that_is_loaded_fault_13(
    models_dir: Path, tmp_path: Path, group: bytes, network: str
) -> None:
    folder = _attributes(models_dir, tmp_path)
    entries = {**json.loads((folder / "models.json").read_text("utf-8")), "other": {"family": "arcface", **MIT}}
    models_folder(folder, entries, {"other": Embedder.of(6).save(tmp_path / "o.onnx", side=112)})
    told = []
    for recogniser in ("None", "sface", "other"):
        runtime = opened(MODELS_DIR=str(folder), REC_NAME=recogniser, GA_NAME=network)
        try:
            image = runtime.service._decoder.decode(group)
            options = ExtractOptions(0.6, embedding=recogniser != "None", gender_age=True)
            found = faces(runtime, image, options).faces
        finally:
            closed(runtime)
        assert all((face.embedding is None) == (recogniser == "None") for face in found)
        told.append([face.gender_age for face in found])
    assert len(told[0]) > 20 and told[0] == told[1] == told[2]
    if network == "tiny_squares":  # what it says hangs on the pixels that it is shown
        assert len({answer.age for answer in told[0] if answer}) > 5


def test_extra_sizes_are_looked_at_from_the_warm_up_on(tmp_path: Path) -> None:
    folder = _tiny(tmp_path / "models", tmp_path)
    environ = {"DET_NAME": "tiny_detector", "REC_NAME": "None", "MAX_SIZE": "96,64"}
    runtime = opened(MODELS_DIR=str(folder), DET_EXTRA_SIZES="32,64x32", **environ)
    plain = opened(MODELS_DIR=str(folder), **environ)
    try:
        picture = runtime.service._decoder.decode((REPO / "src/visage/data/selftest.png").read_bytes())
        options = ExtractOptions(0.5, embedding=False)
        more, less = (faces(one, picture, options) for one in (runtime, plain))
        assert more.scale == less.scale and len(more.faces) > 0
        assert [face.score for face in more.faces] != [face.score for face in less.faces]
    finally:
        closed(runtime)
        closed(plain)


@pytest.mark.parametrize(
    ("environ", "same"),
    [({}, False), ({"COMPAT_API": "0.9"}, True), ({"COMPAT_API": "0.9", "DET_SQUARE": "0"}, False)],
)
def test_pictures_are_padded_as_the_settings_say(tmp_path: Path, environ: dict[str, str], same: bool) -> None:
    # The tiny detector sees faces in padding, too: where there is more of it there are more.
    chosen_too = {"MODELS_DIR": str(_tiny(tmp_path / "models", tmp_path)), "DET_NAME": "tiny_detector"}
    chosen_too |= {"REC_NAME": "None", "MAX_SIZE": "128,128"}
    runtime, square = opened(**chosen_too, **environ), opened(**chosen_too, DET_SQUARE="1")
    try:
        picture = Image(np.full((20, 128, 3), 90, np.uint8))
        options = ExtractOptions(0.3, embedding=False)
        fitted, whole = (faces(one, picture, options) for one in (runtime, square))
        assert fitted.scale == whole.scale and len(fitted.faces) > 0
        assert (len(fitted.faces) == len(whole.faces)) is same
    finally:
        closed(runtime)
        closed(square)


def test_a_detector_of_one_size_ignores_extra_sizes_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = dense(tmp_path / "f.onnx", scrfd_heads(), size=(64, 96))
    entry = {"family": "scrfd", "rewrites": [], **MIT}
    folder = models_folder(tmp_path / "models", {"fixed": entry}, {"fixed": fixed})
    closed(opened(MODELS_DIR=str(folder), DET_NAME="fixed", REC_NAME="None", DET_EXTRA_SIZES="128,320"))
    assert caplog.text.count("DET_EXTRA_SIZES has no effect: fixed takes pictures of 96×64 only") == 1


# A process of its own: in this one, other tests have compiled what they needed.
_REQUESTS = """
import asyncio, json, sys
import numpy as np
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from visage.deadline import Deadline
from visage.faces import Image
from visage.options import ExtractOptions
from visage.runtime import open_runtime
from visage.settings import Settings

class Silent:
    def image(self, outcome, /): ...
    def stage(self, name, seconds, /): ...
    def batch(self, stage, size, /): ...
    def waiting(self, stage, model, /): return lambda _: None

def compiled():
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("visage."):
            for key, value in vars(module).items():
                if isinstance(value, Dispatcher) and value.py_func.__module__ == name:
                    found[f"{name}.{key}"] = [str(s) for s in value.nopython_signatures]
    return found

runtime = open_runtime(Settings.load()[0], Silent())
before = compiled()
decode = runtime.service._decoder.decode
def faces(*asked):
    return asyncio.run(runtime.service.faces(*asked))
pictures = [decode(Path(name).read_bytes()) for name in sys.argv[1:]]
pixels = pictures[0].pixels
pictures += [Image(np.ascontiguousarray(part)) for part in (pixels[:40, :30], pixels[:1, :50], pixels[:, :2],
             np.repeat(np.repeat(pixels, 3, 0), 3, 1), np.zeros_like(pixels), pixels[::-1])]
counts = []
for picture in pictures:
    for threshold in (0.05, 0.6, 1.0):
        for more in ({}, {"limit_faces": 1}, {"min_face_size": 20}, {"max_size": (320, 256)}, {"crops": True}):
            options = ExtractOptions(threshold, **{"embedding": threshold > 0.1, "limit_faces": 4, **more})
            counts.append(len(faces(picture, options, Deadline(100)).faces))
after = compiled()
asyncio.run(runtime.aclose())
print(json.dumps({"before": before, "after": after, "faces": max(counts)}))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pair", ["the embedded pair", "a pair shaped like SCRFD and ArcFace"])
def test_nothing_compiles_on_a_request_fault_04_fault_29(models_dir: Path, tmp_path: Path, pair: str) -> None:
    if pair == "the embedded pair":
        environ = {"MODELS_DIR": str(models_dir)}
    else:
        folder = _tiny(tmp_path / "models", tmp_path)
        environ = {"MODELS_DIR": str(folder), "DET_NAME": "tiny_detector", "REC_NAME": "tiny_embedder"}
        environ |= {"MAX_SIZE": "320,320", "DET_EXTRA_SIZES": "128,96x64"}
    command = [sys.executable, "-c", _REQUESTS, str(REPO / "misc" / "images" / "grace_hopper.jpg")]
    env = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(REPO / "src"), **environ}
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["faces"] > 0
    assert told["before"]["visage.geometry.nms._suppress"]  # the warm-up has been through it
    if pair != "the embedded pair":
        assert told["before"]["visage.geometry.anchors.distance_rows"]
    assert told["after"] == told["before"]


# -- what a backend is told ---------------------------------------------------------------------------------------


def test_a_backend_is_told_what_to_compute_with_and_the_most_that_will_be_asked_for(tmp_path: Path) -> None:
    settings = settings_of(
        MODELS_DIR=str(tmp_path), MAX_SIZE="800,600", DET_EXTRA_SIZES="128,64x900", DET_BATCH_SIZE="3",
        REC_BATCH_SIZE="8", FORCE_FP16="1", ORT_PROVIDERS="CUDA, cpu", TRT_WORKSPACE_MB="512", TRT_CUDA_GRAPHS="1",
    )  # fmt: skip
    file = Prepared(tmp_path / "a.onnx", "0" * 64, verified=True)
    det, rec = (model_file(settings, CATALOGUE[name], file) for name in ("yunet", "sface"))

    assert det.means == rec.means == Means(True, ("cuda", "cpu"), workspace_mb=512, cuda_graphs=True)
    assert (det.largest, rec.largest) == (Largest(3, (800, 448), (800, 900)), Largest(8, (112, 112), (112, 112)))
    assert rec.kept == tmp_path / "onnx" / "sface"


def test_an_engine_that_is_built_for_small_pictures_takes_the_self_test_s(tmp_path: Path) -> None:
    file = Prepared(tmp_path / "a.onnx", "0" * 64, verified=True)
    assert model_file(settings_of(MAX_SIZE="128,64"), CATALOGUE["yunet"], file).largest.size == (320, 320)


def test_the_catalogue_is_read_once_a_start(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(folder: Path) -> Catalogue:
        read.append(folder)
        return read_catalogue(folder)

    monkeypatch.setattr("visage.runtime.read_catalogue", counted)
    closed(opened(MODELS_DIR=str(models_dir)))
    assert read == [models_dir]


def test_what_is_built_of_a_file_that_is_only_tried_is_kept_beside_it(
    tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = runtime.backend

    def watched(name: str) -> Any:
        return lambda model: seen.append(model.kept) or real(name)(model)

    monkeypatch.setattr(runtime, "backend", watched)
    path = models_dir / "onnx" / "sface" / "sface.prepared.onnx"
    assert len(runtime.try_model(CATALOGUE["sface"], path, settings_of(MODELS_DIR=str(tmp_path)))) == 5
    assert seen == [None]
