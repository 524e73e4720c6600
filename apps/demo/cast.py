"""Who plays which part in the demo's story: people of `catalogue.organisation()`, acting with personal tokens."""

from __future__ import annotations

AUTHOR, MANAGER, OPERATOR = "author", "manager", "operator"
CAST = {
    AUTHOR: "otto.author@acme.example",
    MANAGER: "max.manager@acme.example",
    OPERATOR: "olga.operator@acme.example",
}
