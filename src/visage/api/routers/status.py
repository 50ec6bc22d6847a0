"""What the service says of itself."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, RedirectResponse

from visage import __version__
from visage.api.prefix import prefix_of
from visage.api.problems import kind_of, problem
from visage.api.refusals import declared
from visage.api.state import State, state_of
from visage.backends import AUTO, BACKENDS
from visage.networks import Loaded
from visage.settings import Settings
from visage.zoo.catalogue import Entry

router = APIRouter(tags=["service"])


@router.get("/", include_in_schema=False)
async def root(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{prefix_of(request.scope)}/docs", 307)


@router.get("/health", summary="Does the process live?", responses=declared(500))
async def health(request: Request) -> Response:
    """Runs no network; see /ready for whether requests can be answered. 500 where only a new process can answer."""
    state = state_of(request)
    if state.lost is not None:
        return problem(500, state.lost.title, str(state.lost), kind=kind_of(state.lost), compat=state.compat)
    if state.failure is not None:
        return problem(500, "Internal error", "self check failed", kind="self-check", compat=state.compat)
    return JSONResponse({"status": "ok"})


@router.get("/ready", summary="Can requests be answered?", responses=declared(503))
async def ready(request: Request) -> dict[str, Any]:
    """200 once every network is loaded, self-tested and warm; 503 before, after a device was lost, and where galleries
    or keys are kept that cannot be used. `warnings`, if any: nothing can be written, or what was may not last.
    """
    state = state_of(request)
    state.ready()
    state.gate.hold_usable()
    await state.galleries.hold_usable()
    warnings = [said for said in (await state.galleries.warning(), state.keys.warning) if said]
    return {"status": "ready", "warnings": warnings} if warnings else {"status": "ready"}


@router.get("/info", summary="Settings and networks")
async def info(request: Request) -> dict[str, Any]:
    """The keys of InsightFace-REST 0.9, or of 0.7 under COMPAT_API=0.7; header values are never shown."""
    state = state_of(request)
    return _info_07(state) if state.settings.compat_api == "0.7" else _info_09(state)


@router.get("/models", summary="Networks of the catalogue")
async def models(request: Request) -> dict[str, list[dict[str, Any]]]:
    """Every network that a setting can name: its task and licence, whether it is loaded, thus to be named in a request
    or the `default`, and whether it is in memory now or was unloaded for want of use.
    """
    runtime = state_of(request).ready()
    loaded = {model.entry.name: model for _, model in runtime.networks.all()}
    defaults = {model.entry.name for model in runtime.networks.defaults.values()}
    in_memory = {network.name for network in runtime.service.rack.standing() if network.in_memory}
    entries = runtime.catalogue.entries | {name: model.entry for name, model in loaded.items()}  # those of packs, too
    return {
        "models": [
            _model(entry, loaded.get(name), default=name in defaults, in_memory=name in in_memory)
            for name, entry in entries.items()
        ]
    }


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    content, media_type = state_of(request).metrics.render()
    return Response(content, media_type=media_type)


def _model(entry: Entry, loaded: Loaded | None, *, default: bool, in_memory: bool) -> dict[str, Any]:
    return {
        "name": entry.name,
        "task": entry.task,
        "family": entry.family,
        "description": entry.description,
        "licence": entry.licence.model_dump(),
        "threshold": entry.threshold,
        "sha256": loaded.file.sha256 if loaded else entry.sha256,
        "loaded": loaded is not None,
        "default": default,
        "in_memory": in_memory,
    }


def _info_09(state: State) -> dict[str, Any]:
    settings = state.settings
    known = {
        "version": settings.version,
        "tensorrt_version": settings.tensorrt_version,
        "log_level": settings.log_level,
        "models": {
            "inference_backend": _known_backend(settings),
            "det_name": settings.det_name,
            "rec_name": settings.rec_name,
            "max_size": list(settings.max_size),
            "ga_name": settings.ga_name,
            "mask_detector": settings.mask_detector,
            "rec_batch_size": settings.rec_batch_size,
            "det_batch_size": settings.det_batch_size,
            "force_fp16": settings.force_fp16,
            "triton_uri": settings.triton_uri,
        },
        "defaults": settings.defaults(),
    }
    if state.compat:
        return known
    named = state.runtime.networks.named if state.runtime else {}
    engines = state.runtime.engines if state.runtime else {}
    ours = {
        "version": __version__,
        "ready": state.is_ready,
        "loaded": dict(state.models()),
        "det_names": list(named.get("det", ())),
        "rec_names": list(named.get("rec", ())),
        "det_extra_sizes": [list(size) for size in settings.det_extra_sizes],
        "return_landmarks_106": settings.def_return_landmarks_106,
        "inference_backend": settings.inference_backend,
        "ort_providers": list(settings.ort_providers),
        "engines": {name: asdict(standing) for name, standing in engines.items()},
    }
    return known | {"visage": ours}


def _known_backend(settings: Settings) -> str:
    """A word that clients of InsightFace-REST know: onnx, trt or triton; of ours the networks are ONNX files."""
    unknown = {AUTO, *BACKENDS} - {"trt", "triton"}
    return "onnx" if settings.inference_backend in unknown else settings.inference_backend


def _info_07(state: State) -> dict[str, Any]:
    settings = state.settings
    defaults = settings.defaults()
    return {
        "version": settings.version,
        "tensorrt_version": settings.tensorrt_version,
        "log_level": settings.log_level,
        "models": {
            "backend_name": _known_backend(settings),
            "rec_name": settings.rec_name,
            "rec_batch_size": settings.rec_batch_size,
            "det_batch_size": settings.det_batch_size,
            "det_name": settings.det_name,
            "ga_name": settings.ga_name,
            "fp16": settings.force_fp16,
            "triton_uri": settings.triton_uri,
        },
        "defaults": {
            "threshold": settings.def_det_thresh,
            "max_size": list(settings.max_size),
            **{
                name: defaults[name]
                for name in ("return_face_data", "return_landmarks", "extract_embedding", "extract_ga")
            },
            "api_ver": settings.def_api_ver or "1",
        },
    }
