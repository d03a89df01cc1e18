"""RALF's files as the hub reads them."""

from typing import Final

from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.store import workspace

PROBLEMS_MAX: Final = 1_000


async def show_workspace(call: Call) -> Answer:
    """Answer with what was read from the files and what could not be."""
    hub = call.hub
    counts, problems = await hub.db.read(
        lambda conn: (workspace.counts(conn), workspace.problems(conn, limit=PROBLEMS_MAX))
    )
    nothing = {"path": None, "layout": None, "last_scan_at": None, "scanning": False}
    status = nothing if hub.workspace is None else hub.workspace.status()
    return Answer.json({**status, "counts": counts, "problems": problems})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/workspace",
        "showWorkspace",
        "Show the workspace",
        show_workspace,
        "tasks:read",
        "workspace",
        answer="Workspace",
    ),
)
