"""Recordings: found page by page, looked for where the page says they lie, landed whole in a folder or not at all."""
