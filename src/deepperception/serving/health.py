"""KServe's routes that say how the server is: those of its protocols that only tell, and none that loads or unloads."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY, exposition
from starlette.exceptions import HTTPException

from deepperception.serving.service import Service


def health(service: Service, dataplane: Any) -> APIRouter:
    """Over KServe's data plane, which knows the model; ready is what the service says."""
    from kserve.protocol.rest.v1_endpoints import V1Endpoints  # type: ignore[import-untyped]
    from kserve.protocol.rest.v2_endpoints import V2Endpoints  # type: ignore[import-untyped]

    v1, v2 = V1Endpoints(dataplane), V2Endpoints(dataplane)
    router = APIRouter()

    async def ready() -> Response:
        """200 once the golden pictures passed, 503 before and while the server stops."""
        service.check_ready()
        return JSONResponse({"ready": True})

    # KServe's own handlers of these two take a version, and answer it with 501.
    async def described(model_name: str) -> Response:
        """The model's inputs and outputs."""
        return JSONResponse(await dataplane.model_metadata(model_name))

    async def model_ready(model_name: str) -> Response:
        """Whether the model takes requests."""
        return JSONResponse(await v1.model_ready(model_name))

    async def metrics(request: Request) -> Response:
        """For Prometheus."""
        encoder, kind = exposition.choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(REGISTRY), headers={"content-type": kind})

    async def no_model(model_name: str) -> Response:
        raise HTTPException(404, f"there is no model '{model_name}', it is called deepperception")

    for address, said, tag in (
        ("/v1/models", v1.models, "V1"),
        ("/v1/models/{model_name}", v1.model_ready, "V1"),
        ("/v2", v2.metadata, "V2"),
        ("/v2/health/live", v2.live, "V2"),
        ("/v2/health/ready", ready, "V2"),
        ("/v2/models", v2.models, "V2"),
        ("/v2/models/{model_name}", described, "V2"),
        ("/v2/models/{model_name}/ready", model_ready, "V2"),
        ("/metrics", metrics, "metrics"),
    ):
        router.add_api_route(address, said, methods=["GET"], tags=[tag])
    for address in ("/v1/models/{model_name}:predict", "/v2/models/{model_name}/infer"):
        router.add_api_route(address, no_model, methods=["POST"], include_in_schema=False)
    return router
