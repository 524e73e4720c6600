"""Keys that their vendors gave a shape of their own: anchored prefixes and lengths, so that no other word passes for one."""

from __future__ import annotations

from apps.core.domain.redaction_shapes import BEGIN, Rule, has_digit, random_looking


def _known(name: str, trigger: str, pattern: str) -> Rule:
    """A rule for keys of which the prefix and length say enough."""
    return Rule(name, BEGIN + trigger, rf"\b{pattern}")


# Of makers and hosts of models.
_MODELS = (
    ("hf_", "hf_[A-Za-z0-9]{30,}"),
    ("api_org_[A-Za-z0-9]{8}", "api_org_[A-Za-z0-9]{34}"),
    ("gsk_", "gsk_[A-Za-z0-9]{40,}"),
    ("xai-", "xai-[A-Za-z0-9]{40,}"),
    ("r8_[A-Za-z0-9]{8}", "r8_[A-Za-z0-9]{37,}"),
    ("pplx-[A-Za-z0-9]{8}", "pplx-[A-Za-z0-9]{40,}"),
    ("nvapi-", "nvapi-[A-Za-z0-9_-]{60,}"),
    ("pcsk_", "pcsk_[A-Za-z0-9_]{50,}"),
    ("tvly-", "tvly-(?:dev-|prod-)?[A-Za-z0-9]{32,}"),
    ("lsv2_", "lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}"),
    ("jina_", "jina_[A-Za-z0-9_-]{40,}"),
    ("fw_[A-Za-z0-9]{20}", "fw_[A-Za-z0-9]{22,}"),
    ("tgp_v1_", "tgp_v1_[A-Za-z0-9_-]{40,}"),
    ("e2b_[a-f0-9]{8}", "e2b_[a-f0-9]{40}"),
    ("fc-[a-f0-9]{8}", r"fc-[a-f0-9]{32}\b"),
    ("sk_[a-f0-9]{8}", r"sk_[a-f0-9]{48}\b"),
    ("sk-lf-", "sk-lf-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
)
# Of clouds, databases and what runs programs.
_CLOUDS = (
    ("do[opr]_v1_", "do[opr]_v1_[a-f0-9]{64}"),
    ("dapi", "dapi[a-f0-9]{32}"),
    ("dckr_[po]at_", "dckr_[po]at_[A-Za-z0-9_-]{27,}"),
    ("hv[sbr]\\.", r"hv[sbr]\.[A-Za-z0-9_-]{24,}"),
    ("[A-Za-z0-9]{14}\\.atlasv1", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}"),
    ("dp\\.(?:pt|st|ct|sa|scim|audit)\\.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{40,}"),
    ("sbp_[a-f0-9]{8}", "sbp_[a-f0-9]{40}"),
    ("sb_secret_", "sb_secret_[A-Za-z0-9_-]{30,}"),
    ("pscale_", "pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{32,}"),
    ("nfp_[A-Za-z0-9]{8}", "nfp_[A-Za-z0-9]{36,}"),
    ("HRKU-", "HRKU-[A-Za-z0-9_-]{36,}"),
    ("fo1_[A-Za-z0-9_-]{8}", "fo1_[A-Za-z0-9_-]{43}"),
    ("fm[12]_[A-Za-z0-9]{8}", "fm[12]_[A-Za-z0-9+/=_-]{60,}"),
    ("pul-[a-f0-9]{8}", "pul-[a-f0-9]{40}"),
    ("v1\\.0-[a-f0-9]{8}", r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"),
    ("dt0c01\\.", r"dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    ("AGE-SECRET", "AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    ("ops_eyJ", "ops_eyJ[A-Za-z0-9+/=_-]{100,}"),
)
# Of tools of developers and operators.
_TOOLS = (
    ("lin_api_", "lin_api_[A-Za-z0-9]{32,}"),
    ("AT(?:ATT|CTT)3", "AT(?:ATT|CTT)3[A-Za-z0-9_=-]{40,}"),
    ("ATBB[A-Za-z0-9]{8}", "ATBB[A-Za-z0-9]{28,}"),
    ("ntn_[A-Za-z0-9]{8}", "ntn_[A-Za-z0-9]{40,}"),
    ("figd_", "figd_[A-Za-z0-9_-]{40,}"),
    ("pat[A-Za-z0-9]{14}\\.", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    ("pat-(?:na|eu)", r"pat-(?:na|eu)\d-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("gl(?:sa|c)_[A-Za-z0-9]{8}", r"gl(?:sa_[A-Za-z0-9]{32}_[a-fA-F0-9]{8}|c_[A-Za-z0-9+/=]{40,})"),
    ("NRAK-", "NRAK-[A-Z0-9]{27}"),
    ("sntry[su]_", "sntry(?:s_[A-Za-z0-9+/=_-]{40,}|u_[a-f0-9]{64})"),
    ("phx_[A-Za-z0-9]{8}", "phx_[A-Za-z0-9]{43,}"),
    ("PMAK-", "PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    ("sq[apu]_[a-f0-9]{8}", "sq[apu]_[a-f0-9]{40}"),
    ("bk(?:ua|ct)_", "bk(?:ua|ct)_[a-f0-9]{40}"),
    ("CCIPAT_", "CCIPAT_[A-Za-z0-9]{20,}_[a-f0-9]{40}"),
    ("AKCp", "AKCp[A-Za-z0-9]{69}"),
    ("CFPAT-", "CFPAT-[A-Za-z0-9_-]{43}"),
    ("rubygems_", "rubygems_[a-f0-9]{48}"),
    ("oy2[a-z0-9]{8}", r"oy2[a-z0-9]{43}\b"),
    ("cio[A-Za-z0-9]{8}", r"cio[A-Za-z0-9]{32}\b"),
    ("sgp_[A-Za-z0-9]{8}", "sgp_[A-Za-z0-9_]{40,}"),
)
# Of mail, messages, shops and payments.
_SERVICES = (
    ("shp[a-z]{2}_", "shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("SK[0-9a-f]{8}", "SK[0-9a-f]{32}"),
    ("key-[0-9a-f]{8}", r"key-[0-9a-f]{32}\b"),
    ("[0-9a-f]{32}-us", r"[0-9a-f]{32}-us\d{1,2}\b"),
    ("xkeysib-", "xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    ("re_[A-Za-z0-9]{8}_", "re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}"),
    ("EAAA[A-Za-z0-9_-]{8}", "EAAA[A-Za-z0-9_-]{60}"),
    ("sq0[a-z]{3}-", "sq0(?:csp|atp|idp)-[A-Za-z0-9_-]{22,}"),
    ("access_token\\$", r"access_token\$production\$[a-z0-9]{16}\$[a-f0-9]{32}"),
    ("EZ[AT]K[A-Za-z0-9]{8}", "EZ[AT]K[A-Za-z0-9]{54}"),
    ("sk\\.eyJ", r"sk\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}"),
    ("sl\\.[A-Za-z0-9_-]{8}", r"sl\.[A-Za-z0-9_-]{100,}"),
)


def _many(shapes: tuple[tuple[str, str], ...]) -> Rule:
    return _known("vendor_key", f"(?:{'|'.join(trigger for trigger, _ in shapes)})", f"(?:{'|'.join(pattern for _, pattern in shapes)})")


VENDORS: tuple[Rule, ...] = (
    Rule("mission_control_token", BEGIN + r"mc_[A-Za-z0-9]{4}", r"\bmc_[A-Za-z0-9]{4,24}_([A-Za-z0-9_-]{20,})", random_looking),
    _known("anthropic_key", "sk-ant-", r"sk-ant-[a-z]{2,8}\d\d-[A-Za-z0-9_-]{20,}"),
    Rule(
        "openai_key",
        BEGIN + r"sk-[A-Za-z0-9]",
        r"\bsk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|or-v1-[a-f0-9]{32,}|[A-Za-z0-9]{20,})",
        lambda value: random_looking(value[3:].removeprefix("or-v1-")),
    ),
    _known("github_token", "g(?:h[pousr]|ithub_pat)_[A-Za-z0-9]{8}", r"(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,})"),
    _known(
        "gitlab_token",
        "(?:gl[a-z]{2,6}-[A-Za-z0-9_-]{8}|GR1348941)",
        "(?:gl(?:pat|rt|dt|cbt|ptt|soat|ft|ffct|imt|wt|agent)-[A-Za-z0-9_-]{20,}|GR1348941[A-Za-z0-9_-]{20,})",
    ),
    _known("aws_access_key_id", "A[KSBC][IC]A[A-Z0-9]{8}", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _known(
        "aws_session_token",
        "(?:IQoJb3JpZ2lu|F[wQ]oGZXIvYXdz|FQoDYXdz|ABSKQmVkcm9ja)",
        "(?:IQoJb3JpZ2lu|F[wQ]oGZXIvYXdz|FQoDYXdz|ABSKQmVkcm9ja)[A-Za-z0-9/+=_%-]{80,}",
    ),
    _known("google_api_key", "AIza[0-9A-Za-z_-]{8}", "AIza[0-9A-Za-z_-]{35}"),
    _known(
        "google_oauth",
        r"(?:GOCSPX-|ya29\.|1//0)",
        r"(?:GOCSPX-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,}|1//0[A-Za-z0-9_-]{40,})",
    ),
    Rule("google_fcm_key", ":APA91b", r"\bAAAA[A-Za-z0-9_-]{7}:APA91b[A-Za-z0-9_-]{100,}"),
    # Of storage, of the AI services, of an application, of DevOps: each carries a mark of its own in the middle.
    Rule("azure_key", r"\+ASt[A-Za-z0-9+/]{5}==", r"[A-Za-z0-9+/]{76}\+ASt[A-Za-z0-9+/]{5}=="),
    Rule("azure_key", "JQQJ99", r"\b[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26}"),
    Rule("azure_key", r"\dQ~[A-Za-z0-9_~.-]{8}", r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}"),
    Rule("azure_key", "AZDO", r"\b[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}\b"),
    Rule(
        "slack_token",
        BEGIN + r"(?:xox[a-z]|xapp)[-.]",
        r"\b(?:xox[abeoprs](?:\.xox[abp])?-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,})",
        has_digit,
    ),
    Rule(
        "slack_webhook", r"hooks\.slack\.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Z0-9]+/[A-Z0-9]+/[A-Za-z0-9]{16,})"
    ),
    Rule(
        "teams_webhook",
        r"webhook\.office\.com",
        r"webhook\.office\.com/webhookb2/([A-Za-z0-9@-]{36,}/[A-Za-z]+/[0-9a-f]{32}/[0-9a-f-]{36})",
    ),
    _known("stripe_key", "(?:[rs]k_(?:live|test)_|whsec_)", r"(?:[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{24,})"),
    _known("sendgrid_key", r"SG\.[A-Za-z0-9_-]{8}", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}"),
    _known("npm_token", "npm_[A-Za-z0-9]{8}", r"npm_[A-Za-z0-9]{36}\b"),
    _known("pypi_token", "pypi-A", "pypi-A[A-Za-z0-9_-]{40,}"),
    Rule("telegram_token", r":AA[A-Za-z0-9_-]{8}", r"(?:\b|bot)(\d{8,10}:AA[A-Za-z0-9_-]{33})"),
    Rule(
        "discord_token",
        BEGIN + r"[MNO][A-Za-z0-9_-]{23,25}\.",
        r"\b[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}",
        random_looking,
    ),
    Rule("discord_webhook", r"discord(?:app)?\.com/api", r"discord(?:app)?\.com/api(?:/v\d+)?/webhooks/\d+/([A-Za-z0-9_-]{60,})"),
    *map(_many, (_MODELS, _CLOUDS, _TOOLS, _SERVICES)),
)
