"""``tally bench``: measure, each figure beside a reference measured in the same run."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run; all without a name")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, for a first look")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmarks; 0 whatever they show."""
    from api.bench import run_benchmarks

    return run_benchmarks(arguments.names, quick=arguments.quick, json=arguments.json)
