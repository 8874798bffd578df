"""Each order is confirmed by e-mail."""

from __future__ import annotations

import os
from email.message import EmailMessage
from urllib.parse import urlsplit

import aiosmtplib
from events import EmailSent, OrderPlaced

from headrace import Context, Reject, Retry, Sandbox, function


@function(
    "orders",
    emits={"emails": EmailSent},
    retry=Retry(attempts=5, delay=0.5, on=(aiosmtplib.SMTPException, OSError)),
    timeout=10.0,
    sandbox=Sandbox(network=["tcp:587"], secrets=["SMTP_URL"]),
)
async def confirm_order(order: OrderPlaced, ctx: Context) -> EmailSent:
    """Send the confirmation e-mail. A mail server that is busy is tried again; a wrong address is not."""
    server = urlsplit(os.environ["SMTP_URL"])
    message = confirmation(order, ctx.event.id)
    try:
        await aiosmtplib.send(message, hostname=server.hostname, port=server.port, start_tls=False)
    except aiosmtplib.SMTPException as error:
        if refused_for_good(error):
            raise Reject(f"the mail server refuses it for good: {error}") from error
        raise
    ctx.log.info("confirmation sent", order=order.order_id, to=order.email)
    return EmailSent(order_id=order.order_id, to=order.email)


def confirmation(order: OrderPlaced, event_id: str) -> EmailMessage:
    """The e-mail. Its Message-ID is made from the event's id: if it is sent twice, the mail system can tell."""
    message = EmailMessage()
    message["From"] = "shop@storefront.example"
    message["To"] = order.email
    message["Subject"] = f"Your order {order.order_id}"
    message["Message-ID"] = f"<{event_id}@storefront.example>"
    message.set_content(f"Thank you! We have received your order {order.order_id} over {order.total:.2f}.")
    return message


def refused_for_good(error: aiosmtplib.SMTPException) -> bool:
    """Whether the server answered with a permanent code (5xx, RFC 5321 section 4.2.1)."""
    answers = error.recipients if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else [error]
    return all(getattr(answer, "code", 0) >= 500 for answer in answers)
