"""Serve a saved classifier over HTTP: `MODEL=model uvicorn examples.serving.app:app`."""

import os
import time
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field

from textrnn import runtime

FOLDER = Path(os.environ.get("MODEL", "model"))
Texts = Annotated[list[Annotated[str, Field(max_length=10_000)]], Body(max_length=64)]
app = FastAPI(title="Text classifier", max_body_size=2**20)


def find_version() -> str:
    """Return the checksum of the file that has the checksums of all others."""
    return sha256((FOLDER / "config.json").read_bytes()).hexdigest()


def watch() -> None:
    """Replace the model if the folder has another one; keep it if that one is damaged."""
    while True:
        time.sleep(0.5)
        try:
            if (version := find_version()) != app.state.served[0]:
                model = runtime.load(FOLDER)
                if version == find_version():  # or the folder was replaced again
                    app.state.served = version, model  # in one step, so that they agree
            app.state.error = ""
        except (OSError, ValueError) as error:
            app.state.error = str(error)


app.state.served, app.state.error = (find_version(), runtime.load(FOLDER)), ""
Thread(target=watch, daemon=True).start()


@app.exception_handler(RequestValidationError)
async def refuse(_: Request, error: RequestValidationError) -> Response:
    """Name the first wrong field, without the texts, which may not be valid Unicode."""
    return Response("{loc}: {msg}".format_map(error.errors()[0]), 422)


@app.post("/predict")
def predict(texts: Texts, k: Annotated[int, Body(ge=1, le=1000)] = 1) -> dict[str, Any]:
    """Return the most probable labels of each text with their probabilities."""
    version, model = app.state.served  # once, so that one model answers all texts
    return {"model": version, "predictions": model.top_k(texts, k)}


@app.get("/health")
async def health() -> dict[str, str]:
    """Return the version of the model, and why a newer one was not loaded."""
    return {"model": app.state.served[0], "error": app.state.error}
