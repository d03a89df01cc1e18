"""Features: what RALF plans, and how far its tasks have come."""

from pydantic import Field

from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.errors import NotFoundError
from ralf_hub.handlers.shared import PageQuery, page_answer
from ralf_hub.model import Feature, Json
from ralf_hub.store import features


class FeatureQuery(PageQuery):
    """Filters of the feature list."""

    status: str | None = Field(default=None, max_length=50, description="Only features of this status.")


def feature_json(feature: Feature) -> Json:
    """Return *feature* as the API shows it."""
    return {
        "id": feature.id,
        "title": feature.title,
        "status": feature.status,
        "priority": feature.priority,
        "description": feature.description,
        "tasks": {"total": feature.tasks_total, "completed": feature.tasks_completed},
        "source": feature.source,
        "metadata": dict(feature.metadata),
        "created_at": feature.created_at,
        "updated_at": feature.updated_at,
        "delivered_at": feature.delivered_at,
    }


async def list_features(call: Call) -> Answer:
    """Answer with features by id."""
    query: FeatureQuery = call.query
    page = await call.hub.db.read(lambda conn: features.page(conn, **query.model_dump()))
    return page_answer("features", page, feature_json)


async def get_feature(call: Call) -> Answer:
    """Answer with one feature."""
    feature_id = call.params["id"]
    feature = await call.hub.db.read(lambda conn: features.get(conn, feature_id))
    if feature is None:
        raise NotFoundError(f"There is no feature {feature_id}.")
    return Answer.json(feature_json(feature))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/features",
        "listFeatures",
        "List features",
        list_features,
        "features:read",
        "features",
        query=FeatureQuery,
        answer="FeatureList",
    ),
    Endpoint(
        "GET",
        "/api/v1/features/{id}",
        "getFeature",
        "Read a feature",
        get_feature,
        "features:read",
        "features",
        answer="Feature",
        errors=("not_found",),
    ),
)
