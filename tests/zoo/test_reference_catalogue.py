"""InsightFace-REST's own catalogue is read; ids, hashes and shapes are those it publishes."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import Embedder, pictures
from tests.support import REPO
from visage.backends.base import ModelFile
from visage.backends.onnx import open_session
from visage.families import family
from visage.zoo.catalogue import Catalogue, DriveFile, WebFile
from visage.zoo.reading import read_catalogue
from visage.zoo.reference_catalogue import is_one, translated
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

# name: function, Google Drive id, md5
DETECTORS = {
    "retinaface_r50_v1": ("retinaface_r50_v1", "1peUaq0TtNBhoXUbMqsCyQdL7t5JuhHMH", None),
    "retinaface_mnet025_v1": ("retinaface_mnet025_v1", "12H4TXtGlAr1boEGtUukteolpQ9wfUTWe", None),
    "retinaface_mnet025_v2": ("retinaface_mnet025_v2", "1hzgOejAfCAB8WyfF24UkfiHD2FJbaCPi", None),
    "mnet_cov2": ("mnet_cov2", "1xPc3n_Y0jKyBONRx71UqCfcHjOGOLc2g", None),
    "scrfd_10g_bnkps": ("scrfd", "1llbQa8HFle-45wscZulzGcNncPFgYruJ", "2740f9259d46355ca5fa0d9b54943524"),
    "scrfd_2.5g_bnkps": ("scrfd", "1yObTSsOYCJFn38uf6O6Hku-XEhK8-q0n", "02710671a1af640b610b501383153868"),
    "scrfd_500m_bnkps": ("scrfd", "1ccagW08CyKJoeFAmL2ao7pjwr3_m_Zm1", "03fd8fe67902798b7584b1e7ff3e0f6f"),
    "scrfd_10g_gnkps": ("scrfd", "14BuXR6L73w1mwKXHPIcZlc9LYaid4Evl", "1d9b64bb0e6e18d4838872c9e7efd709"),
    "scrfd_2.5g_gnkps": ("scrfd", "1_LeETpKhWL4sRPvLZEvka-bGNMN4tMOU", "50febd32caa699ef7a47cf7422c56bbd"),
    "scrfd_500m_gnkps": ("scrfd", "19CeBV03a3DEhZeas4olZn7GgiUESDu0L", "ef4bcb0606d6e5ebf325f8322e507a7b"),
    "scrfd_10g_gnkps_norm": ("scrfd_v2", "1Ks7kAHxSVnE-Zh0p99mVyQ9CLas1Amem", None),
    "yolov5s-face": ("yolov5_face", "14Ah6jfXJ5QuzaN2OsKE-g61x3-_hBnQV", "ab86397847fe907aec5aba3399beb4ac"),
    "yolov5m-face": ("yolov5_face", "1degIq0DEFML97PFvfpi-mMN8mfzRzy5z", "0211fba2d9bd2000109c9aba9d096715"),
    "yolov5l-face": ("yolov5_face", "1PL52lvybe1nJU5k09twbfKNRWw904HgS", "e3ec0aa70e3a1f985a54baef788cabec"),
    "yolov5n-face": ("yolov5_face", "1P9u9vEGA9J2v1riAe3jIqZ-Zu5OrUCQN", "3f6fa74b4cf49ac17e2954d53c59a569"),
    "yolov5n-0.5": ("yolov5_face", "16gNzkxSByVtyYOMxRDRDn_qKfVxco1p0", "32bf1a3c244e565c3a0b86e881fbbf99"),
}
CROPS = {
    "arcface_r100_v1": ("arcface_mxnet", "1sj170K3rbo5iOdjvjHw-hKWvXgH4dld3", "8868eace383b8137afd97bcb7f322731"),
    "glintr100": ("arcface_torch", "1TR_ImGvuY7Dt22a9BOAUAlHasFfkrJp-", "3b366b98f786426f79629ddb2e56629c"),
    "w600k_r50": ("arcface_torch", "1_3WcTE64Mlt_12PZHNWdhVCRpoPiblwq", "80248d427976241cbd1343889ed132b3"),
    "w600k_mbf": ("arcface_torch", "1GtBKfGucgJDRLHvGWR3jOQovHYXY-Lpe", "c5b029527cb6f874e057613fc10bae1b"),
    "adaface_ir101_webface12m": ("adaface", "1dgMFOASKnaujQcCL4sSYkKOkBrmXUUU1", "83101d3b79e541b9a5c42483966bc273"),
    "genderage_v1": ("genderage_v1", "1MnkqBzQHLlIaI7gEoa9dd6CeknXMCyZH", None),
}
MASKS = {
    "mask_detector": (224, "1RsQonthhpJDwwdcB0sYsVGMTqPgGdMGV"),
    "mask_detector112": (112, "1ghS0LEGV70Jdb5un5fVdDO-vmonVIe6Z"),
}
CENTERFACE = "https://raw.githubusercontent.com/Star-Clouds/CenterFace/master/models/onnx/centerface_bnmerged.onnx"


def published() -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for shape, rows in (([1, 3, 640, 640], DETECTORS), ([1, 3, 112, 112], CROPS)):
        for name, (function, link, md5) in rows.items():
            whole[name] = {"in_package": False, "shape": shape, "allow_batching": True, "function": function}
            whole[name] |= {"link": link, "dl_type": "google", **({"md5": md5} if md5 else {})}
    whole["arcface_r100_v1"]["md5sum"] = whole["arcface_r100_v1"].pop("md5")  # misspelt there
    for name, (side, link) in MASKS.items():
        whole[name] = {"shape": [1, side, side, 3], "function": "mask_detector", "link": link, "dl_type": "google"}
    whole["centerface"] = {"shape": [1, 3, 640, 640], "reshape": True, "function": "centerface", "link": CENTERFACE}
    whole["centerface"] |= {"outputs": {"537": [1, 1, 160, 160]}, "in_package": False}
    # not to be read by anything
    whole["retinaface_mnet025_v0"] = {"shape": [1, 3, 480, 640], "link": "1PFDlZF8CYEr7TVnjGo_qVKVVlLP-7_du"}
    whole["coordinateReg"] = {"in_package": False, "shape": [1, 3, 192, 192], "function": "arcface_landmarks"}
    return whole


UNREADABLE = ("retinaface_mnet025_v0", "coordinateReg")


def over(folder: Path, said: Any, name: str = "models.json") -> Catalogue:
    (folder / name).write_text(json.dumps(said), "utf-8")
    return read_catalogue(folder)


@pytest.mark.parametrize("file", ["models.json", "models.override.json"])
def test_the_whole_published_catalogue_is_read(tmp_path: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = over(tmp_path, published(), file)
    for name, (_, link, md5) in {**DETECTORS, **CROPS}.items():
        entry = found[name]
        assert entry.sources[0] == DriveFile(gdrive=link) and (md5 is None or entry.md5 == md5)
    for name, (side, link) in MASKS.items():
        assert found[name].params["side"] == side and found[name].sources[0] == DriveFile(gdrive=link)
    assert found["centerface"].sources[0] == WebFile(url=CENTERFACE)
    for name in UNREADABLE:
        assert name not in found.entries and f"model {name!r} is passed over" in caplog.text
    assert len(caplog.records) == len(UNREADABLE)


def test_the_published_catalogue_changes_nothing_of_how_ours_are_read_and_licensed(tmp_path: Path) -> None:
    ours, theirs = read_catalogue(REPO / "models"), over(tmp_path, published())
    for name, entry in ours.entries.items():
        other = theirs[name]
        assert (other.family, other.fed(), dict(other.params)) == (entry.family, entry.fed(), dict(entry.params)), name
        assert other.licence == entry.licence and other.graph_rewrites() == entry.graph_rewrites()


def test_new_ones_are_under_a_licence_that_nobody_stated(tmp_path: Path) -> None:
    found = over(tmp_path, {"mine": {"function": "scrfd", "shape": [1, 3, 640, 640]}})

    assert found["mine"].licence.id == "unstated" and found["mine"].sources == ()


# -- fields -------------------------------------------------------------------------------------------------------

KNOWN = {
    "family": "arcface",
    "preprocess": {"mean": 0.0, "std": 1.0, "colours": "bgr"},
    "licence": {"id": "mit"},
    "sources": [{"gdrive": "a" * 12}, {"url": "http://host/a"}],
    "sha256": "a" * 64,
    "md5": "b" * 32,
    "bytes": 5,
}


def ours(**said: Any) -> dict[str, Any]:
    found = translated("a", {"function": "arcface_torch", **said}, KNOWN)
    assert found is not None
    return found


def hashes(found: dict[str, Any]) -> list[Any]:
    return [found.get(key) for key in ("sha256", "md5", "bytes")]


def test_what_the_function_says_comes_first_and_what_it_cannot_say_stays() -> None:
    assert ours()["preprocess"] == {"mean": 127.5, "std": 127.5, "colours": "bgr"}
    assert ours()["licence"] == {"id": "mit"}
    assert ours(function="arcface_mxnet")["preprocess"] == KNOWN["preprocess"]
    assert ours(licence={"id": "own"})["licence"] == {"id": "own"}


def test_of_another_family_nothing_but_the_licence_stays() -> None:
    found = ours(function="scrfd")

    assert (found["family"], found["licence"], hashes(found)) == ("scrfd", {"id": "mit"}, [None] * 3)
    assert not {"preprocess", "sources"} & found.keys()


def test_the_same_hash_keeps_the_better_one_and_the_mirrors() -> None:
    found = ours(md5sum="b" * 32, link="http://host/new")

    assert hashes(found) == ["a" * 64, "b" * 32, 5]
    assert found["sources"] == [{"url": "http://host/new"}, *KNOWN["sources"]]


def test_another_hash_replaces_all_and_leaves_no_mirror() -> None:
    found = ours(md5="c" * 32, link="http://host/new")

    assert hashes(found) == [None, "c" * 32, None] and found["sources"] == [{"url": "http://host/new"}]


def test_a_known_link_without_a_hash_keeps_what_is_known() -> None:
    found = ours(link="a" * 12, dl_type="google")

    assert hashes(found) == ["a" * 64, "b" * 32, 5] and found["sources"] == KNOWN["sources"]


def test_another_link_without_a_hash_is_unverified() -> None:
    found = ours(link="c" * 12, dl_type="google")

    assert hashes(found) == [None] * 3 and found["sources"] == [{"gdrive": "c" * 12}]


def test_one_of_ours_is_none_of_theirs() -> None:
    assert not is_one({"family": "scrfd", "shape": [1]}) and not is_one({"md5": "a" * 32, "licence": {}})
    assert is_one({"function": "scrfd"}) and is_one({"link": "a"}) and is_one({"shape": [1]})


def test_a_custom_recogniser_of_theirs_is_prepared_and_fed_as_they_do(tmp_path: Path) -> None:
    oracle = Embedder.of(8)
    said = {"custom_rec_model": {"in_package": False, "shape": [1, 3, 112, 112], "function": "arcface_torch"}}
    entry = over(tmp_path, said)["custom_rec_model"]
    store = Store(Fetching(tmp_path, offline=True), ["unstated"])
    store.path(entry.name).parent.mkdir(parents=True)
    oracle.save(store.path(entry.name), batch=1)
    prepared = store.prepare(entry)
    session = open_session(ModelFile(entry.name, prepared.path, prepared.sha256, entry.fed(), threads=1))
    crops = pictures(3, (112, 112))
    found = family(entry.family).build(session, entry.params).predict(crops)

    raw = oracle(((crops[..., ::-1].astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2))
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose([one.vector for one in found], expected, atol=1e-5)
