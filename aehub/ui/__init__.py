"""The page: a browser's way to the public functions.

`page.build` makes it, `server.serve` runs it, `environment.check` comes before either is imported.
"""
