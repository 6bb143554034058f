"""The whole interface, held to its description by schemathesis: asked rightly and wrongly.

By everybody: each request comes once from an operator, and once from somebody who may do less.
"""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from wallet_http.routes import ROUTES
from wallet_testing.described import Described
from wallet_testing.digest import findings
from wallet_testing.fuzzing import Run
from wallet_testing.processes import staged

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "use_after_free",
    "refused_changes_nothing",
)
"""Not `positive_data_acceptance`: a wallet refuses well-formed requests for want of money."""

ORG = "org-1"
OPENING_PENCE = 10**12


@pytest.mark.timeout(7200)
async def test_the_interface_is_as_described(database: str, tmp_path: Path) -> None:
    """No 5xx, nothing that is not documented, and no change by what was refused."""
    run = Run(name="interface", usual=3, share=20)  # for each of some thirty operations
    async with staged(database, tmp_path) as stage:
        await stage.org(ORG, OPENING_PENCE)
        settings = stage.node._settings
        known = Described(
            url=stage.node.url,
            dsn=database,
            jwt_secret=settings["WALLET_AUTH__JWT_SECRET"],
            vapi_secret=settings["WALLET_VAPI__SECRET"],
            org_id=ORG,
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from schemathesis.cli import schemathesis; schemathesis()",
            "run",
            f"{stage.node.url}/openapi.json",
            f"--header=Authorization: Bearer {stage.token}",
            f"--header=X-Vapi-Secret: {known.vapi_secret}",
            f"--max-examples={run.examples}",
            f"--seed={run.seed}",
            "--continue-on-failure",
            "--no-color",
            f"--checks={','.join(CHECKS)}",
            cwd=tmp_path,
            env={**os.environ, **known.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=None if run.is_long else asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        told = (printed or b"").decode()
        assert process.returncode == 0, f"seed {run.seed}\n{told[-8000:]}"
        if not run.is_long:
            assert f"Tested: {len(ROUTES) - 1}" in told, told[-2000:]  # all but the document itself
        log = stage.node.log.read_text()
        assert not re.search("Traceback|Unhandled|met a bug", log), log[-4000:]
    assert await findings(database) == []
