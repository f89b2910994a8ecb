"""``POST /v1/feedback``: what a user thought of an answer."""

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.api.access import described, gateway_of, principal, read_model
from gateway.api.responses import JsonResponse

router = APIRouter(tags=["feedback"])


class Feedback(BaseModel):
    """A score of one call. The first one for a call and metric counts: evidence does not change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True)

    call_id: str = Field(pattern=r"^call_[0-9a-z]{26}$", examples=["call_01jd3v5k8m2q4r6t8w0y2a4c6e"])
    metric: str = Field("helpful", pattern=r"^[a-z][a-z0-9_]{0,40}$")
    value: float = Field(ge=0, le=1, allow_inf_nan=False, description="0 is worst, 1 is best.")
    comment: str = Field("", max_length=2000)


class Accepted(BaseModel):
    status: str = "accepted"
    call_id: str


@router.post("/v1/feedback", status_code=202, response_model=Accepted, openapi_extra=described(Feedback))
async def feedback(request: Request) -> Response:
    """Kept durably before it is acknowledged; feedback on another tenant's call counts for nothing."""
    caller = await principal(request, "feedback")
    body = await read_model(request, Feedback)
    gateway_of(request).recorder.feedback(
        tenant=caller.tenant, call_id=body.call_id, metric=body.metric, value=body.value, comment=body.comment
    )
    return JsonResponse(msgspec.to_builtins({"status": "accepted", "call_id": body.call_id}), status_code=202)
