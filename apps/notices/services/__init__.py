"""What is done with notices, webhooks and preferences."""

from apps.notices.services.delivering import send_again
from apps.notices.services.notifying import notify
from apps.notices.services.preferences import choose_emails
from apps.notices.services.webhooks import Shown, create_webhook, rotate_secret, switch_webhook, try_webhook, update_webhook

__all__ = [
    "Shown",
    "choose_emails",
    "create_webhook",
    "notify",
    "rotate_secret",
    "send_again",
    "switch_webhook",
    "try_webhook",
    "update_webhook",
]
