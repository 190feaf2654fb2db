"""Bulk runs: rows in, one outcome each, nothing sent twice and nothing lost."""
