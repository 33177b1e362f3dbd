"""Noria raises LLM agents that a team owns: build, teach, serve, learn from use, release only what is proven better.

The folders, in the order in which one may import another (a folder imports only those before it):
schema, store, data, model, engine, train, align, compress, evaluate, knowledge, agent, serve, feedback, lifecycle, cli.
`config` and `errors` may be imported by all, `templates` by `cli` alone, `testing` by none of them; `studio` is the page.
"""

__version__ = "0.1.0"
