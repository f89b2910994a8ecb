"""Alerts: always in the log and as a Prefect event, and to the webhook if one is configured."""

import json
import urllib.error
import urllib.request
from typing import Any

from prefect.events import emit_event
from prefect.logging import get_run_logger

from gateway.settings import Settings

TIMEOUT = 5.0


def alert(settings: Settings, kind: str, text: str, **facts: Any) -> bool:
    """Tell people; returns whether the webhook took it (True where there is none). Never raises.

    ``kind`` becomes the event ``promptyard.alert.<kind>``, so that automations can react to it.
    """
    logger = get_run_logger()
    logger.warning("%s", text)
    emit_event(
        event=f"promptyard.alert.{kind}",
        resource={"prefect.resource.id": f"promptyard.alert.{kind}", "prefect.resource.name": text[:200]},
        payload={"text": text, **facts},
    )
    url = settings.alert_webhook_url.get_secret_value()
    if not url:
        return True
    body = json.dumps({"text": f"promptyard: {text}"}).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError, ValueError) as error:
        # The address is a secret: it often is the whole authentication of the channel.
        logger.error("the alert webhook did not take an alert: %s", type(error).__name__)
        return False
