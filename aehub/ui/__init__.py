"""The web page: the public functions in a browser.

`page.build` makes it, `server.serve` runs it; call `environment.check` before importing either.
"""
