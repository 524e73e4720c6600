from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "apps.audit"
    label = "audit"

    def ready(self) -> None:
        from apps.audit.heads import failure
        from apps.core.health import remark

        remark("audit_heads", lambda: "failing; see the audit page" if failure() else "ok")
