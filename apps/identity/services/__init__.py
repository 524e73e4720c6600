"""What people do with tenants, people, agents and tokens. The one way to change them."""

from apps.identity.services.access import add_group_member, create_group, delete_group, grant, remove_group_member, revoke, update_group
from apps.identity.services.accounts import activate_person, create_service_account, deactivate_person
from apps.identity.services.agents import activate_agent, create_agent, retire_agent, suspend_agent, update_agent
from apps.identity.services.delegations import delegate, end_delegation
from apps.identity.services.people import add_member, change_member, create_team, create_user, remove_member, update_team
from apps.identity.services.tenants import (
    activate_tenant,
    create_organisation,
    create_tenant,
    delete_tenant,
    suspend_tenant,
    update_organisation,
    update_tenant,
)
from apps.identity.services.tokens import Issued, issue_agent_token, issue_api_token, revoke_token, rotate_token

__all__ = [
    "Issued",
    "activate_agent",
    "activate_person",
    "activate_tenant",
    "add_group_member",
    "add_member",
    "change_member",
    "create_agent",
    "create_group",
    "create_organisation",
    "create_service_account",
    "create_team",
    "create_tenant",
    "create_user",
    "deactivate_person",
    "delegate",
    "delete_group",
    "delete_tenant",
    "end_delegation",
    "grant",
    "issue_agent_token",
    "issue_api_token",
    "remove_group_member",
    "remove_member",
    "retire_agent",
    "revoke",
    "revoke_token",
    "rotate_token",
    "suspend_agent",
    "suspend_tenant",
    "update_agent",
    "update_group",
    "update_organisation",
    "update_team",
    "update_tenant",
]
