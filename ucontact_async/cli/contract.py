"""``ucontact-async contract``: the API as a document that other tools import, on standard output.

It knows two formats by name; what stands in them is the business of ``contract``.
"""

from __future__ import annotations

import argparse

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``contract`` and its arguments."""
    parser = commands.add_parser("contract", help="print the API as a Postman collection or an OpenAPI document")
    parser.add_argument("--format", required=True, choices=["postman", "openapi"], help="what to print")
    parser.add_argument("--url", metavar="URL", help="the server it is for; by default one that does not exist")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the document as JSON; 2 for a URL that is none."""
    import json

    from ..contract import openapi_document, postman_collection
    from .command import DONE

    make = postman_collection if args.format == "postman" else openapi_document
    print(json.dumps(make(args.url) if args.url else make(), indent=2))
    return DONE
