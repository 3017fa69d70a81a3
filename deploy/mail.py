"""Sends a mail about the end of a run.

By environment: MAIL_TO (addresses with commas between them), MAIL_HOST (localhost), MAIL_PORT (587 with MAIL_USER, else
25), MAIL_FROM (the first of MAIL_TO), MAIL_USER and MAIL_PASSWORD, with which STARTTLS is required. MAIL_ON names the
exit statuses that are worth one, such as "2 3 4"; all where it is empty.

    MAIL_TO=me@example.org local_runner.py --on-end 'python3 deploy/mail.py'
"""

import os
import smtplib
import ssl
import sys
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from notice import not_told, notice, text

_SECONDS = 20


def letter(environ: Mapping[str, str]) -> EmailMessage:
    """Returns what is sent."""
    told, to = notice(environ), environ["MAIL_TO"]
    message = EmailMessage()
    message["To"] = to
    message["From"] = environ.get("MAIL_FROM") or to.split(",")[0].strip()
    message["Subject"] = told["title"]
    # A letter without them looks like spam, and some servers refuse it.
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid()
    message.set_content(text(told))
    return message


def main() -> int:
    """Returns 0 where the server took it, or nothing was to be sent."""
    environ = os.environ
    if not environ.get("MAIL_TO"):
        print("mail.py: MAIL_TO: expected an address, found none.", file=sys.stderr)
        return 2
    if missing := not_told(environ):
        print(f"mail.py: {missing}", file=sys.stderr)
        return 2
    worth = environ.get("MAIL_ON", "").replace(",", " ").split()
    if odd := [status for status in worth if not status.isdecimal()]:
        print(f"mail.py: MAIL_ON: expected exit statuses, such as 2 3 4, found {odd[0]!r}.", file=sys.stderr)
        return 2
    if worth and environ["PIPELINE_EXIT_STATUS"] not in worth:
        return 0
    user = environ.get("MAIL_USER")
    host, port = environ.get("MAIL_HOST", "localhost"), environ.get("MAIL_PORT", "587" if user else "25")
    if not port.isdecimal():
        print(f"mail.py: MAIL_PORT: expected a number, found {port!r}.", file=sys.stderr)
        return 2
    try:
        with smtplib.SMTP(host, int(port), timeout=_SECONDS) as server:
            if user:
                server.starttls(context=ssl.create_default_context())
                server.login(user, environ.get("MAIL_PASSWORD", ""))
            server.send_message(letter(environ))
    except (OSError, smtplib.SMTPException) as error:
        print(f"mail.py: {host}:{port} did not take it ({type(error).__name__}: {error}).", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
