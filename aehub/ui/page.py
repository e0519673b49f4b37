"""The page as a whole: a head, one tab for each panel, and the fine print."""

from __future__ import annotations

import os

import gradio as gr

from aehub.ui import animate, compare, compress, decode, edit, models
from aehub.ui.examples import CREDITS
from aehub.ui.inputs import Page
from aehub.ui.limits import Context, PageLimits
from aehub.ui.theme import asset
from aehub.version import __version__

# Each panel is one module with TITLE and build(context); a new panel is one entry here.
PANELS = (compress, decode, edit, animate, compare, models)


def build(context: Context | None = None) -> gr.Blocks:
    """The page, ready to be launched.

    Args:
        context: limits and folders; by default those of the environment.
    """
    context = context or Context.from_env()
    # Where Gradio keeps uploads; the jobs delete them with their own files.
    os.environ["GRADIO_TEMP_DIR"] = str(context.jobs.root)
    with Page(context.jobs, title="AEHub", analytics_enabled=False) as demo:
        gr.HTML(_head(), elem_id="ae-head")
        with gr.Tabs():
            for panel in PANELS:
                with gr.Tab(panel.TITLE, id=panel.TITLE.lower()) as tab:
                    context.shared["tab"] = tab
                    panel.build(context)
        gr.HTML(_foot(context.limits), elem_id="ae-foot")
    demo.queue(max_size=context.limits.queue, api_open=False, default_concurrency_limit=4)
    return demo


def _head() -> str:
    return (f"<h1>{asset('mark.svg')}AEHub</h1>"
            "<p>A neural network squeezes your clip into a small file and paints it again from "
            "that file alone. <b>Drop a clip and pull the divider to see what it kept.</b></p>")


def _foot(limits: PageLimits) -> str:
    return (f"{limits.sentence} Nothing is sent anywhere else, and nothing is counted. {CREDITS} "
            f"AEHub {__version__}, Apache-2.0.")
