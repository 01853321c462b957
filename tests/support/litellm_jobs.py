"""LiteLLM's functions at the addresses where its licensed proxy serves them.

Run this with the interpreter of an environment that has LiteLLM: the handlers of its proxy call the
same functions, and report their errors in the same way.
"""

from __future__ import annotations

import sys
from typing import Any

import litellm  # type: ignore[import-not-found,unused-ignore] # of another environment
import uvicorn
from fastapi import FastAPI, Request  # type: ignore[import-not-found,unused-ignore] # likewise
from fastapi.responses import JSONResponse  # type: ignore[import-not-found,unused-ignore] # likewise
from litellm.proxy._types import (  # type: ignore[import-not-found,unused-ignore] # likewise
    ProxyException,
)
from litellm.proxy.utils import (  # type: ignore[import-not-found,unused-ignore] # likewise
    handle_exception_on_proxy,
)


def application(openai: str, azure: str) -> Any:  # noqa: ANN401 - of another environment
    """Return the proxy's two addresses before an OpenAI and an Azure server."""
    servers = {
        "openai": {"api_base": openai, "api_key": "a-key"},
        "azure": {"api_base": azure, "api_key": "a-key", "api_version": "2025-04-01-preview"},
    }
    app = FastAPI()

    @app.exception_handler(ProxyException)
    async def refused(_: Request, error: ProxyException) -> JSONResponse:
        return JSONResponse({"error": error.to_dict()}, int(error.code or 500))

    @app.get("/v1/fine_tuning/jobs/{job_id:path}")
    async def job(job_id: str, custom_llm_provider: str) -> Any:  # noqa: ANN401 - likewise
        try:
            return await litellm.aretrieve_fine_tuning_job(
                fine_tuning_job_id=job_id,
                custom_llm_provider=custom_llm_provider,
                **servers[custom_llm_provider],
            )
        except Exception as error:
            raise handle_exception_on_proxy(error) from error

    @app.get("/v1/fine_tuning/jobs")
    async def jobs(
        custom_llm_provider: str, after: str | None = None, limit: int | None = None
    ) -> Any:  # noqa: ANN401 - likewise
        return await litellm.alist_fine_tuning_jobs(
            custom_llm_provider=custom_llm_provider,
            after=after,
            limit=limit,
            **servers[custom_llm_provider],
        )

    return app


if __name__ == "__main__":
    port, *urls = sys.argv[1:]
    uvicorn.run(application(*urls), host="127.0.0.1", port=int(port))
