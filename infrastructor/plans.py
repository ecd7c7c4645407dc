"""Destruction is planned, shown, then confirmed.

A plan is stored with what it is bound to; its token is single use, lives five minutes, and is worth nothing to
another caller, for another device, with other parameters, or once the state it looked at has changed.
"""

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

from infrastructor.errors import PlanRejected
from infrastructor.ids import uuid7
from infrastructor.operation import Plan, PlanDraft
from infrastructor.ports import AuditRecord, PlanStore, StoredPlan

PLAN_LIFETIME = timedelta(minutes=5)


class Plans:
    """Hands out plan tokens and takes them back."""

    def __init__(self, store: PlanStore) -> None:
        self._store = store

    async def propose(self, draft: PlanDraft, record: AuditRecord) -> Plan:
        """Store the plan for this run's caller, device and params, and give its token."""
        token = f"plan_{secrets.token_urlsafe(24)}"
        plan = Plan(
            summary=draft.summary,
            effects=list(draft.effects),
            commands=list(draft.commands),
            reversible=draft.reversible,
            plan_token=token,
            expires_at=datetime.now(UTC) + PLAN_LIFETIME,
        )
        plan_id = uuid7()
        await self._store.save(
            StoredPlan(
                id=plan_id,
                token_hash=_hash(token),
                operation=record.operation,
                principal=record.caller.principal,
                device_id=record.device_id,
                params_hash=_params_hash(record),
                fingerprint=draft.fingerprint,
                body=plan.model_dump(mode="json", exclude={"plan_token"}),
                expires_at=plan.expires_at,
            )
        )
        record.plan_id = plan_id
        return plan

    async def redeem(self, token: str, now: PlanDraft, record: AuditRecord) -> UUID:
        """Use the token up and return its plan's id. Raises `PlanRejected` unless everything still holds."""
        stored = await self._store.take(_hash(token))
        if stored is None:
            raise PlanRejected("The plan token is unknown, used or expired.")
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


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _params_hash(record: AuditRecord) -> str:
    return hashlib.sha256(json.dumps(record.params, sort_keys=True).encode()).hexdigest()
