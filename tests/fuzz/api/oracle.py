"""What any answer must be like, and what this one must, for what was asked and what is known."""
import json

from openapi import check_answer

# Statuses over 499 that may be, and where: a registry that is not there, and a dockerd that stands still for longer than health
# waits, which the test then wants to be over. A healthy service has no cause for another.
EXCUSED = {("createSession", 502), ("health", 503)}


class Wrong(AssertionError):
    pass


def must(condition, what):
    if not condition:
        raise Wrong(what)


def check(made, response):
    """Raises Wrong, or what check_answer does."""
    operation = made.op["operationId"]
    status = response.status_code
    head = made.request.method == b"HEAD"
    shown = f"{status} {response.text[:300]!r}"
    if status >= 500:
        of_nginx = not made.plain and status in (501, 505)  # a transfer encoding or a version that it does not know
        must(of_nginx or (operation, status) in EXCUSED, f"a fault of the service: {shown}")
    if not response.partial and not head and status not in (204, 304) and "content-length" in response.headers:
        must(int(response.headers["content-length"]) == len(response.content), f"an answer of another length than announced: {shown}")
    must("x-request-id" in response.headers, f"no X-Request-Id: {shown}")
    if made.plain:
        check_answer(response)
    elif status >= 400 and not head:
        must(isinstance(json.loads(response.content), dict) and json.loads(response.content).get("detail"), f"an error without a detail: {shown}")
    if made.plain:
        check_state(made, response, operation, shown)


def check_state(made, response, operation, shown):
    status = response.status_code
    if made.session is None and "session_id" in made.path:
        must(status >= 400 or operation == "closeSession" and status == 204, f"a session that is none answered: {shown}")
        return
    must(status != 403 or "API Key" not in response.text, f"a good key was refused: {shown}")
    if made.good:
        faults = status == 422 and isinstance(response.json()["detail"], list)
        must(not faults, f"a body that fits was refused: {shown}")
    if made.session and not made.session.mortal:
        must("Session not found" not in response.text or status != 404, f"a session that lives was not found: {shown}")
    if operation == "seedSession" and status == 204:
        must(not made.session.seeded, "a session was seeded twice")
