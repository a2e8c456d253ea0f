"""``tally keys``: make, list and revoke API keys."""

from __future__ import annotations

import argparse
import time

from adapters.api_key_file import SCOPES, ApiKey, ApiKeyFile
from api.commands.command import DONE, print_json, settings_of
from api.commands.table import format_table, format_time
from domain.errors import MalformedError

_DAY_NS = 86_400_000_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--create", metavar="LABEL", help="make a key with this label; it is shown once")
    what.add_argument("--revoke", metavar="KEY_ID", help="end a key for ever")
    parser.add_argument(
        "--scopes", default="read", help=f"comma-separated: {', '.join(SCOPES)} (default read)"
    )
    parser.add_argument("--days", type=int, help="days until it expires (default never)")


def run(arguments: argparse.Namespace) -> int:
    """Create, revoke or list."""
    settings = settings_of(arguments)
    file = ApiKeyFile(settings.keys_folder)
    now_ns = time.time_ns()
    if arguments.create:
        if arguments.days is not None and not 1 <= arguments.days <= 36_500:
            raise MalformedError(
                "not a number of days", field="--days", expected="1 to 36500", actual=str(arguments.days)
            )
        expires_at_ns = now_ns + arguments.days * _DAY_NS if arguments.days else None
        scopes = tuple(scope.strip() for scope in arguments.scopes.split(","))
        text, key = file.create(
            settings.tenant, scopes, label=arguments.create, now_ns=now_ns, expires_at_ns=expires_at_ns
        )
        if arguments.json:
            print_json({"key": text, **_view(key)})
        else:
            print(
                f"{text}\n  tenant {key.tenant}, scopes {', '.join(key.scopes)}; "
                "this is the only time it is shown"
            )
    elif arguments.revoke:
        key = file.revoke(settings.tenant, arguments.revoke)
        print_json(_view(key)) if arguments.json else print(f"{key.key_id} is revoked")
    else:
        found = file.keys(settings.tenant)
        if arguments.json:
            print_json([_view(key) for key in found])
        else:
            rows = [
                (
                    key.key_id,
                    key.label,
                    ", ".join(key.scopes),
                    format_time(key.created_at_ns),
                    format_time(key.expires_at_ns),
                    "revoked" if key.is_revoked else "in force",
                )
                for key in found
            ]
            print(format_table(("key", "label", "scopes", "created", "expires", ""), rows))
    return DONE


def _view(key: ApiKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "label": key.label,
        "created_at_ns": key.created_at_ns,
        "expires_at_ns": key.expires_at_ns,
        "is_revoked": key.is_revoked,
    }
