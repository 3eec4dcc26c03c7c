"""Engine timescaledb: the jobs of the extension, and what they should have done by now."""

from __future__ import annotations

from ingest.doctor.case import Case
from ingest.doctor.finding import Finding, ok, problem, warning
from ingest.doctor.words import span
from ingest.storage.inspection import Row

JOBS, ROLLUPS, COMPRESSION = "jobs", "rollups", "compression"

WAKE_SCHEDULER = "SELECT _timescaledb_functions.start_background_workers()"
MAKE_MISSING = "SELECT internal.ensure_jobs()"


async def check_jobs(case: Case) -> list[Finding]:
    """Jobs that are missing, switched off, failing, or not started."""
    jobs = await case.rows("jobs")
    findings = [finding for job in jobs if (finding := _check_job(case, job))]
    return findings or ok(JOBS, f"{len(jobs)} jobs, none failing")


def _check_job(case: Case, job: Row) -> Finding | None:
    if job["job_id"] is None:
        what = f"there is no job for {job['job']}"
        return problem(JOBS, what, case.prescribe.sql_as_owner(MAKE_MISSING))
    name = f"job {job['job_id']} ({job['job']})"
    limits = case.thresholds
    if not job["scheduled"]:
        todo = case.prescribe.sql(f"SELECT public.alter_job({job['job_id']}, scheduled => true)")
        return problem(JOBS, f"{name} is switched off", todo)
    if job["is_failing"]:
        said = f": {job['last_error']}" if job["last_error"] else ""
        todo = f"to see why: {_run(case, job)}; the server's log says more"
        return problem(JOBS, f"{name} fails{said}", todo)
    if job["overdue"] is not None and job["overdue"] > limits.job_overdue:
        what = f"{name} should have started {span(job['overdue'])} ago: the scheduler does not run"
        todo = f"{case.prescribe.sql(WAKE_SCHEDULER)}; if that changes nothing, restart the server"
        return problem(JOBS, what, todo)
    silence = limits.job_silence_intervals * job["interval_seconds"]
    if not job["is_refresh"] and (job["since_success"] or 0) > silence:
        what = f"{name} succeeded {span(job['since_success'])} ago for the last time"
        return warning(JOBS, what, f"to see what it does: {_run(case, job)}")
    return None


async def check_refresh(case: Case) -> list[Finding]:
    """When rollups were stored for the last time."""
    for job in await case.rows("jobs"):
        if job["is_refresh"] and job["job_id"] is not None:
            return _check_refresh(case, job)
    return []  # `check_jobs` says that it is missing


def _check_refresh(case: Case, job: Row) -> list[Finding]:
    waiting = job["waiting"]
    if waiting is None or waiting <= case.thresholds.rollup_lag:
        ago = "are about to be" if job["since_success"] is None else f"{span(waiting)} ago"
        return ok(ROLLUPS, f"stored {ago}")
    what = f"last stored {span(waiting)} ago: reading newer buckets is right, and slow"
    return [problem(ROLLUPS, what, f"{_run(case, job)}; why it did not run by itself: see jobs")]


async def check_compression(case: Case) -> list[Finding]:
    """Chunks that are old enough and still not compressed."""
    rows = await case.rows("chunks", case.thresholds.partition_grace)
    late = [row for row in rows if row["uncompressed"]]
    if not late:
        return ok(COMPRESSION, "no chunk is late")
    what = ", ".join(f"{row['uncompressed']} of {row['relation']}" for row in late)
    todo = await run_jobs(case, {row["compressed_by"] for row in late})
    return [warning(COMPRESSION, f"chunks that should be compressed and are not: {what}", todo)]


async def run_jobs(case: Case, names: set[str]) -> str:
    """What to type so that these of `internal.job` run now."""
    jobs = [job["job_id"] for job in await case.rows("jobs") if job["job"] in names]
    if None in jobs or not jobs:
        return "see jobs: one is missing"
    return case.prescribe.sql(*(f"CALL public.run_job({job})" for job in jobs))


def _run(case: Case, job: Row) -> str:
    return case.prescribe.sql(f"CALL public.run_job({job['job_id']})")
