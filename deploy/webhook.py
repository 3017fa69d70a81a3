"""Posts the end of a run to a webhook, as JSON; with a key `text`, which Slack, Mattermost and others show.

WEBHOOK_URL names it; what is secret of it stays out of the settings, which each run keeps.

    WEBHOOK_URL=https://chat.example/hooks/abc local_runner.py --on-end 'python3 deploy/webhook.py'
"""

import json
import os
import sys
import urllib.error
import urllib.request

from notice import notice, text

_SECONDS = 20


def main() -> int:
    """Returns 0 where the other side took it."""
    url = os.environ.get("WEBHOOK_URL")
    if not url:
        print("webhook.py: WEBHOOK_URL: expected an address, found none.", file=sys.stderr)
        return 2
    told = notice(os.environ)
    body = json.dumps({"text": text(told), **told}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "image-pipeline"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=_SECONDS):
            return 0
    except (OSError, ValueError) as error:
        # Without the address, which may hold a token.
        why = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        print(f"webhook.py: the webhook did not take it ({why}).", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
