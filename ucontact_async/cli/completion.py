"""``completion``: what a shell needs to complete this command line, made by shtab (extra ``completion``)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec

from .command import DONE

__all__ = ["add_parser"]


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], whole: Callable[[], argparse.ArgumentParser]
) -> None:
    """Register ``completion``; ``whole`` makes the parser of the whole command line."""
    parser = commands.add_parser("completion", help="print a shell's completion of this command line")
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help='bash: eval "$(ucontact-async completion bash)"')
    parser.set_defaults(run=lambda args: _run(args, whole()))


def _run(args: argparse.Namespace, whole: argparse.ArgumentParser) -> int:
    from ..errors import SettingsError

    if find_spec("shtab") is None:
        raise SettingsError("completion is made by shtab: python -m pip install 'ucontact-async[completion]'")
    import shtab

    print(shtab.complete(whole, shell=args.shell))
    return DONE
