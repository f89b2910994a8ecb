"""How long a release's canary will take, told before it starts."""

from gateway.clock import Clock
from gateway.settings import Settings
from tasks.registration import engine_of
from tasks.releases.audience import expected
from tasks.releases.forecast import Forecast
from tasks.specs.model import CanarySpec
from tasks.step import step


@step("expect canary")
def expect_canary(settings: Settings, clock: Clock, canary: CanarySpec, tenant: str, prompt: str) -> Forecast | None:
    """None for a first version, which has no canary. Raises StorageUnavailable."""
    return expected(engine_of(settings), canary, tenant, prompt, now=clock.now())
