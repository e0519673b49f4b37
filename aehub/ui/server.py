"""Serve the page and its further routes on a port."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from aehub.errors import InputError
from aehub.proxies import usable_proxies
from aehub.ui import environment
from aehub.ui.limits import Context
from aehub.ui.page import ASSETS, build, css, head, theme
from aehub.ui.routes import routes

_THREADS = 40
"""Events at once beside the jobs that wait: the default of Gradio."""


def serve(
    *, port: int | None = None, host: str | None = None, context: Context | None = None,
    block: bool = True, quiet: bool = False,
) -> gr.Blocks:
    """Serve the page.

    Args:
        port: by default `GRADIO_SERVER_PORT`, or the first free one from 7860.
        host: by default `GRADIO_SERVER_NAME`, or this machine only.
        context: limits and folders; by default those of the environment.
        block: return only when the server ends.
        quiet: print nothing.

    Returns:
        The running page; `close()` ends it.

    Raises:
        InputError: the port or host cannot be used, or an environment variable is invalid.
    """
    port, host = environment.listen_address(port, host)
    # Models are downloaded on a press of Download only, not because a visitor's file names one.
    os.environ.setdefault("AEHUB_AUTO_DOWNLOAD", "0")
    context = context or Context.from_env()
    # If the page does not block, it ends with the process.
    atexit.register(context.folders.close)
    atexit.register(context.jobs.close)
    context.folders.start_cleaner()
    demo = build(context)
    try:
        if block:
            _close_on_signals(context)
        _launch(demo, context, port, host)
        if context.library.folder is not None:
            context.library.start()
        context.jobs.start()
        context.throughput.warm_up()
        if not quiet:
            print(f"AEHub is open at {demo.local_url}", flush=True)
        if block:
            demo.block_thread()
    finally:
        if block:
            context.jobs.close()
            context.folders.close()
    return demo


def _close_on_signals(context: Context) -> None:
    """Delete files of visitors before a signal ends the process.

    The signal is raised again with its default action: threads of a running job would block, or
    abort, a normal shutdown of Python.
    """
    def end(number: int, frame: object) -> None:
        # A worker that goes on would write into folders that are gone.
        context.jobs.close()
        context.folders.close()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    # Only the main thread may set handlers; an ignored signal (nohup) stays ignored.
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)


@contextmanager
def _launch_errors_explained(port: int, host: str) -> Iterator[None]:
    """Turn errors of Gradio's launch into one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(f"the page cannot be served on {host}, port {port}: Gradio cannot listen "
                         f"there; give another port, or an IPv4 address with {environment.HOST}."
                         ) from error


def _launch(demo: gr.Blocks, context: Context, port: int, host: str) -> None:
    # httpx logs a line for every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options: dict[str, Any] = {}
    # On Spaces Gradio would put Node before this server, and offer the page as an app.
    options.update(ssr_mode=False, pwa=False, mcp_server=False)
    # Nothing is stored in the browser, and no statistics of visitors are kept.
    options.update(enable_monitoring=False, run_history=False)
    # While it starts, Gradio sends a request to the page, which must not go through a proxy.
    with usable_proxies(none=True), _launch_errors_explained(port, host):
        demo.launch(
            server_port=port, server_name=host, quiet=True, prevent_thread_lock=True,
            show_error=False, footer_links=["api"], favicon_path=str(ASSETS / "favicon.png"),
            theme=theme(), css=css(), head=head(), share=False,
            max_file_size=f"{context.limits.upload_mb}mb",
            # Each job that waits is an event that Gradio works on; others must not wait for them.
            max_threads=_THREADS + context.limits.queue,
            app_kwargs={"routes": routes(context.folders), "docs_url": None, "redoc_url": None},
            **options)
