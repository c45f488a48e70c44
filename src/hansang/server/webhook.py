"""`POST /registry/webhook`: MLflow says that something changed, so the registry is asked now, not at the next poll."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from hansang.errors import BadRequest, Forbidden, NotFound
from hansang.server.request import read_body
from hansang.server.serving import serving_of

PATH = "/registry/webhook"
OLDEST = 300.0
MOST = 1 << 20


def add_webhook(app: FastAPI) -> None:
    """Register the route."""

    async def webhook(request: Request) -> JSONResponse:
        serving = serving_of(request.app)
        secret = serving.settings.registry_webhook_secret
        if not secret:
            raise NotFound("webhooks are not taken here: HANSANG_REGISTRY_WEBHOOK_SECRET is not set")
        body = await read_body(request, min(serving.settings.max_body, MOST))
        check_signature(request.headers, body, secret, time.time())
        name = model_of(body)
        known = bool(name) and name in serving.following.followers
        if known:
            serving.siblings.tap(name)
        return JSONResponse({"model": name, "polled": known}, 202)

    responses: dict[int | str, dict[str, str]] = {
        202: {"description": "Taken; the registry is asked now where it concerns a model of this service"},
        400: {"description": "The body is not a delivery"},
        403: {"description": "The signature is not one of the secret, or is too old"},
        404: {"description": "This service takes no webhooks: it has no secret for them"},
    }
    app.add_api_route(
        PATH,
        webhook,
        methods=["POST"],
        tags=["operations"],
        summary="MLflow's webhook: poll the registry now",
        status_code=202,
        responses=responses,
    )


def check_signature(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """Refuse a delivery that MLflow did not sign with the secret, or signed more than five minutes ago.

    The signature is `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64, as in `mlflow.webhooks.delivery`. A
    delivery that comes twice does no harm: it only makes the service poll.
    """
    delivery, stamp = headers.get("x-mlflow-delivery-id", ""), headers.get("x-mlflow-timestamp", "")
    given = headers.get("x-mlflow-signature", "")
    signed = f"{delivery}.{stamp}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(secret.encode(), signed, "sha256")).decode()
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        raise Forbidden("the webhook's signature is wrong; give MLflow's webhook the secret of this service")
    if not stamp.isascii() or not stamp.isdecimal() or abs(now - int(stamp)) > OLDEST:
        raise Forbidden("the webhook's timestamp is more than five minutes off; look at the clocks")


def model_of(body: bytes) -> str:
    """Give the registered model that a delivery is about; empty when it is about something else."""
    try:
        document = json.loads(body)
        return str(document["data"]["name"]) if str(document["entity"]) in ENTITIES else ""
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest("the body is not a delivery of MLflow's webhooks") from error


ENTITIES = ("registered_model", "model_version", "model_version_tag", "model_version_alias")
