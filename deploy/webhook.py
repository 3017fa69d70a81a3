"""Posts the end of a run to a webhook, as JSON; with a key `text`, which Slack, Mattermost and others show.

WEBHOOK_URL names it; what is secret of it stays out of the settings, which each run keeps.

    WEBHOOK_URL=https://chat.example/hooks/abc local_runner.py --on-end 'python3 deploy/webhook.py'
"""

import http.client
import json
import os
import sys
import urllib.error
import urllib.request

from notice import not_told, notice, text

_SECONDS = 20


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: urllib would go there with a GET, and without the message."""

    def redirect_request(self, *_: object) -> None:
        return None


def main() -> int:
    """Returns 0 where the other side took it; what it sends elsewhere, it did not take."""
    url = os.environ.get("WEBHOOK_URL", "")
    if not url.lower().startswith(("http://", "https://")):
        found = "one without http:// or https://" if url else "none"
        print(f"webhook.py: WEBHOOK_URL: expected an address, found {found}.", file=sys.stderr)
        return 2
    if missing := not_told(os.environ):
        print(f"webhook.py: {missing}", file=sys.stderr)
        return 2
    told = notice(os.environ)
    body = json.dumps({"text": text(told), **told}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "image-pipeline"}
    try:
        with urllib.request.build_opener(_Stays).open(urllib.request.Request(url, body, headers), timeout=_SECONDS):
            return 0
    except (OSError, ValueError, http.client.HTTPException) as error:
        # Without the address, which may hold a token, and which errors about its form repeat.
        why = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        why = str(error.reason) if type(error) is urllib.error.URLError else why
        print(f"webhook.py: the webhook did not take it ({why}).", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
