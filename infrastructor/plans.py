"""Destruction is planned, shown, then confirmed.

A plan is stored with what it is bound to; its token is single use, lives five minutes, and is worth nothing to
another caller, for another device, with other parameters, or once the state it looked at has changed. Where a human
must approve (`destroy_approval=human`), a plan proposed over MCP is worth nothing before somebody else did.
"""

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

from infrastructor.errors import ApprovalNeeded, PlanRejected
from infrastructor.ids import uuid7
from infrastructor.operation import Plan, PlanDraft
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.callers import Interface
from infrastructor.ports.plans import PlanStore, StoredPlan

PLAN_LIFETIME = timedelta(minutes=5)
APPROVAL_LIFETIME = timedelta(hours=1)
"""Of a plan that an admin has to approve first; the fingerprint still holds it to the state it was made for."""


class Plans:
    """Hands out plan tokens and takes them back."""

    def __init__(self, store: PlanStore, *, human_approval: bool = False) -> None:
        self._store = store
        self._human_approval = human_approval

    async def propose(self, draft: PlanDraft, record: AuditRecord) -> Plan:
        """Store the plan for this run's caller, device and params, and give its token."""
        token = f"plan_{secrets.token_urlsafe(24)}"
        plan_id = uuid7()
        needs_approval = self._human_approval and record.caller.interface is Interface.MCP
        plan = Plan(
            plan_id=plan_id,
            needs_approval=needs_approval,
            summary=draft.summary,
            effects=list(draft.effects),
            commands=list(draft.commands),
            reversible=draft.reversible,
            plan_token=token,
            expires_at=datetime.now(UTC) + (APPROVAL_LIFETIME if needs_approval else PLAN_LIFETIME),
        )
        await self._store.save(
            StoredPlan(
                id=plan_id,
                token_hash=_hash(token),
                operation=record.operation,
                principal=record.caller.principal,
                device_id=record.device_id,
                params_hash=_params_hash(record),
                fingerprint=draft.fingerprint,
                body=plan.model_dump(mode="json", exclude={"plan_token"}) | {"device": record.device},
                expires_at=plan.expires_at,
                needs_approval=needs_approval,
            )
        )
        record.plan_id = plan_id
        return plan

    async def redeem(self, token: str, now: PlanDraft, record: AuditRecord) -> UUID:
        """Use the token up and return its plan's id. Raises `PlanRejected` unless everything still holds."""
        stored = await self._store.take(_hash(token))
        if stored is None:
            raise await self._refusal(token, record)
        record.plan_id = stored.id
        if stored.principal != record.caller.principal:
            raise PlanRejected("The plan was made for another caller.")
        if (stored.operation, stored.device_id) != (record.operation, record.device_id):
            raise PlanRejected("The plan was made for another operation or device.")
        if stored.params_hash != _params_hash(record):
            raise PlanRejected("The plan was made for other parameters.")
        if stored.fingerprint != now.fingerprint:
            raise PlanRejected("The state has changed since the plan was made.")
        return stored.id

    async def withdraw(self, token: str, record: AuditRecord) -> None:
        """A person said no: the token is worth nothing from now on."""
        stored = await self._store.find(_hash(token))
        if stored is not None and stored.principal == record.caller.principal:
            record.plan_id = stored.id
            await self._store.withdraw(stored.id)

    async def _refusal(self, token: str, record: AuditRecord) -> PlanRejected:
        """Why the token could not be taken."""
        stored = await self._store.find(_hash(token))
        if stored is None:
            return PlanRejected("The plan token is unknown.")
        record.plan_id = stored.id
        if stored.used_at is not None:
            return PlanRejected("The plan token was used already, or the plan was declined.")
        if stored.expires_at <= datetime.now(UTC):
            return PlanRejected("The plan token has expired.")
        if stored.needs_approval and stored.approved_by is None:
            return ApprovalNeeded(f"The plan {stored.id} waits for the approval of an admin.", plan_id=str(stored.id))
        return PlanRejected("The plan token is used just now by another call.")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _params_hash(record: AuditRecord) -> str:
    return hashlib.sha256(json.dumps(record.params, sort_keys=True).encode()).hexdigest()
