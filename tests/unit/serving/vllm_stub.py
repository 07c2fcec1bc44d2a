"""A program with vLLM's command line and interface: `vllm serve FOLDER --uds SOCKET --served-model-name NAME`.

It is run as a process of its own, so it imports nothing of ours. What it answers names its folder and process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["serve"])
parser.add_argument("folder", type=Path)
parser.add_argument("--uds", required=True)
parser.add_argument("--served-model-name", required=True)
parser.add_argument("--max-model-len", type=int)
arguments = parser.parse_args()
if (arguments.folder / "broken").exists():
    raise SystemExit("CUDA out of memory")
begun = gone = 0


async def health(_: Request) -> Response:
    return Response()


async def complete(request: Request) -> Response:
    asked: dict[str, Any] = await request.json()
    if asked["model"] != arguments.served_model_name:
        return JSONResponse({"error": {"message": "no such model", "code": 404}}, 404)
    if asked.get("max_tokens") == 13:
        refusal = {"message": "13 is unlucky", "type": "BadRequestError", "param": "max_tokens", "code": 400}
        return JSONResponse({"error": refusal}, 400)
    if asked.get("stream"):

        async def events() -> Any:
            global begun, gone  # noqa: PLW0603
            begun += 1
            try:
                for number in range(asked["max_tokens"]):
                    yield f"data: {json.dumps({'id': 'c', 'choices': [{'index': 0, 'text': str(number)}]})}\n\n"
                    await asyncio.sleep(0.02)
                    if asked["prompt"] == "die":
                        os._exit(1)
                yield "data: [DONE]\n\n"
            except asyncio.CancelledError:
                gone += 1
                raise

        return StreamingResponse(events(), media_type="text/event-stream")
    await asyncio.sleep(0.3 if asked.get("prompt") == "slow" else 0)
    text = json.dumps({"folder": str(arguments.folder), "pid": os.getpid(), "begun": begun, "gone": gone})
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return JSONResponse({"id": "c", "model": asked["model"], "choices": [{"index": 0, "text": text}], "usage": usage})


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/v1/completions", complete, methods=["POST"]),
        Route("/v1/chat/completions", complete, methods=["POST"]),
    ]
)
uvicorn.run(app, uds=arguments.uds, log_level="warning")
