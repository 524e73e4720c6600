"""Sign-in by OpenID Connect: mozilla-django-oidc, with several providers and every check that the standard asks for (`docs/sso.md`)."""
