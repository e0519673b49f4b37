"""The page on a port, with the routes beside it."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from importlib.resources import as_file, files
from typing import Any

import gradio as gr

from aehub.ui.page import Context, build, default_context
from aehub.ui.routes import routes
from aehub.ui.theme import css, head, theme


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
    """
    context = context or default_context()
    context.jobs.keep_sweeping()
    demo = build(context)
    try:
        if block:
            _end_on_signals()
        _launch(demo, context, port, host)
        context.pace.warm_up()
        if not quiet:
            print(f"AEHub is open at {demo.local_url}", flush=True)
        if block:
            demo.block_thread()
    finally:
        if block:
            context.jobs.close()
    return demo


def _end_on_signals() -> None:
    """Let the signals that end a process end it in order, so that files of visitors are deleted."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Only the main thread may; and whoever handles it already, or runs this with nohup, knows.
        if number and threading.current_thread() is threading.main_thread() \
                and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))


def _launch(
    demo: gr.Blocks, context: Context, port: int | None, host: str | None
) -> None:
    # Every request of a poll would be a line of its own.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options: dict[str, Any] = {}
    # On Spaces Gradio would put Node between us and the browser, and offer itself as an app.
    options.update(ssr_mode=False, pwa=False, mcp_server=False)
    # Nothing is stored in the visitor's browser and no numbers are kept of visitors.
    options.update(enable_monitoring=False, run_history=False)
    with as_file(files("aehub.ui") / "assets" / "favicon.png") as favicon:
        demo.launch(
            server_port=port, server_name=host, quiet=True, prevent_thread_lock=True,
            show_error=False, footer_links=["api"], favicon_path=str(favicon), theme=theme(),
            css=css(), head=head(), share=False,
            max_file_size=f"{context.limits.upload_mb}mb",
            app_kwargs={"routes": routes(context.jobs), "docs_url": None, "redoc_url": None},
            **options)

