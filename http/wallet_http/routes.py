"""All routes of a node, in the order in which `/openapi.json` shows them."""

from typing import Final

from .admin import ORG_ROUTES
from .billing import BILLING_ROUTES
from .cluster import CLUSTER_ROUTES
from .mappings import MAPPING_ROUTES
from .openapi import OPENAPI_ROUTES
from .operations import OPERATIONS_ROUTES
from .routing import Route
from .v1 import V1_ROUTES
from .vapi import VAPI_ROUTES

ROUTES: Final[tuple[Route, ...]] = (
    *V1_ROUTES,
    *VAPI_ROUTES,
    *BILLING_ROUTES,
    *ORG_ROUTES,
    *MAPPING_ROUTES,
    *CLUSTER_ROUTES,
    *OPERATIONS_ROUTES,
    *OPENAPI_ROUTES,
)
