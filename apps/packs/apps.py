from django.apps import AppConfig


class PacksConfig(AppConfig):
    name = "apps.packs"
    label = "packs"

    def ready(self) -> None:
        # Subscribes to identity's events.
        from apps.packs.services import presets  # noqa: F401
