"""Every address of this release, in one table."""

from typing import Final

from gateway.door import Route
from gateway.routes_audit import AUDIT_ROUTES
from gateway.routes_behaviour import BEHAVIOUR_ROUTES
from gateway.routes_divergences import DIVERGENCE_ROUTES
from gateway.routes_feed import FEED_ROUTES
from gateway.routes_grants import GRANT_ROUTES
from gateway.routes_health import HEALTH_ROUTES
from gateway.routes_intents import INTENT_ROUTES
from gateway.routes_log import LOG_ROUTES
from gateway.routes_oauth import OAUTH_ROUTES
from gateway.routes_policies import POLICY_ROUTES
from gateway.routes_receipts import RECEIPT_ROUTES
from gateway.routes_subjects import SUBJECT_ROUTES
from gateway.routes_tasks import TASK_ROUTES
from gateway.routes_timeline import TIMELINE_ROUTES
from gateway.routes_undo_plans import UNDO_PLAN_ROUTES
from gateway.routes_views import VIEW_ROUTES

ROUTES: Final[tuple[Route, ...]] = (
    *INTENT_ROUTES,
    *FEED_ROUTES,
    *GRANT_ROUTES,
    *OAUTH_ROUTES,
    *POLICY_ROUTES,
    *TASK_ROUTES,
    *SUBJECT_ROUTES,
    *UNDO_PLAN_ROUTES,
    *VIEW_ROUTES,
    *AUDIT_ROUTES,
    *BEHAVIOUR_ROUTES,
    *DIVERGENCE_ROUTES,
    *TIMELINE_ROUTES,
    *LOG_ROUTES,
    *RECEIPT_ROUTES,
    *HEALTH_ROUTES,
)
