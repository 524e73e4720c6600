from django.apps import AppConfig


class NoticesConfig(AppConfig):
    name = "apps.notices"
    label = "notices"

    def ready(self) -> None:
        # Subscribe to the events of the rooms above.
        from apps.notices import checks, subscriptions  # noqa: F401
