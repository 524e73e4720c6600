from django.apps import AppConfig


class IdentityConfig(AppConfig):
    name = "apps.identity"
    label = "identity"

    def ready(self) -> None:
        # Registers the answer of `restrict` and the receivers of sign-ins.
        from apps.identity import permissions  # noqa: F401
        from apps.identity.services import sign_ins  # noqa: F401
