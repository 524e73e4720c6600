"""What the pages of this room share."""

from __future__ import annotations

from apps.core.admin import cells
from apps.core.admin.columns import Column
from apps.notices.models import Delivery, DeliveryState

TONES = {DeliveryState.PENDING: "wait", DeliveryState.SENT: "good", DeliveryState.FAILED: "warn", DeliveryState.DEAD: "bad"}


def _state(delivery: Delivery) -> object:
    word = "failed, repeated" if delivery.state == DeliveryState.FAILED else delivery.state
    return cells.badge(word, TONES[DeliveryState(delivery.state)])


STATE = Column("State", _state, order="state")
