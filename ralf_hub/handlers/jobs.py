"""Jobs: work on many rows, a few at a time. Listed, read, stopped."""

from typing import Literal

from pydantic import Field

from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.errors import ConflictError, NotFoundError
from ralf_hub.handlers.shared import PageQuery, page_answer
from ralf_hub.intake.ledger import Ledger
from ralf_hub.model import Json
from ralf_hub.store import jobs
from ralf_hub.store.jobs import BulkJob


class JobQuery(PageQuery):
    """Filters of the job list."""

    state: Literal["running", "done", "cancelled"] | None = Field(
        default=None, description="Only jobs in this state."
    )


def job_json(job: BulkJob) -> dict[str, Json]:
    """Return *job* as the API shows it."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "count": job.total,
        "done": job.done,
        "parameters": job.parameters,
        "created_by": job.created_by,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
    }


async def list_jobs(call: Call) -> Answer:
    """Answer with jobs, newest first."""
    query: JobQuery = call.query
    page = await call.hub.db.read(lambda conn: jobs.page(conn, **query.model_dump()))
    return page_answer("jobs", page, job_json)


async def get_job(call: Call) -> Answer:
    """Answer with one job."""
    job_id = call.params["id"]
    job = await call.hub.db.read(lambda conn: jobs.get(conn, job_id))
    if job is None:
        raise NotFoundError(f"There is no job {job_id}.")
    return Answer.json(job_json(job))


async def cancel_job(call: Call) -> Answer:
    """Stop a running job; what it has done stays done."""
    job_id = call.params["id"]

    def cancel(ledger: Ledger) -> BulkJob:
        job = jobs.get(ledger.conn, job_id)
        if job is None:
            raise NotFoundError(f"There is no job {job_id}.")
        if not jobs.cancel(ledger.conn, job_id, now=ledger.now) and job.state != "cancelled":
            raise ConflictError(f"A job that is {job.state} cannot be cancelled.")
        return jobs.get(ledger.conn, job_id) or job

    return await call.accept(cancel, lambda job: Answer.json(job_json(job)))


_JOBS = "/api/v1/jobs"
_JOB = "/api/v1/jobs/{id}"

ENDPOINTS = (
    Endpoint(
        "GET",
        _JOBS,
        "listJobs",
        "List jobs",
        list_jobs,
        "deliveries:read",
        "jobs",
        query=JobQuery,
        answer="JobList",
    ),
    Endpoint(
        "GET",
        _JOB,
        "getJob",
        "Read a job",
        get_job,
        "deliveries:read",
        "jobs",
        answer="Job",
        errors=("not_found",),
    ),
    Endpoint(
        "DELETE",
        _JOB,
        "cancelJob",
        "Cancel a job",
        cancel_job,
        "deliveries:write",
        "jobs",
        answer="Job",
        errors=("not_found", "conflict"),
    ),
)
