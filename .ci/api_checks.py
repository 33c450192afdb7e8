"""What schemathesis checks besides: who is refused, and who isn't."""

import os

import schemathesis

ROLES = ["none", "reader", "operator", "administrator"]
ROLE = os.environ["ROLE"]
# Of tokens everybody has to do with their own.
OWN = "/v1/accounts/{account}/tokens"
# The account whose tokens the run lives by.
KEPT = "robot"
# What is refused before it is known who asks, or whether they may.
BEFORE = {400, 404, 405, 414, 429, 431}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Names are learnt from answers: the run doesn't take away what it is let in by."""
    if case.path_parameters and case.path_parameters.get("account") == KEPT:
        case.path_parameters["account"] = "somebody"


@schemathesis.check
def is_refused_where_it_is_due(ctx, response, case):
    """401 without a token, and 403 with too low a role, wherever the description says who may; and nowhere else."""
    least = case.operation.definition.raw.get("x-least-role")
    assert least in ROLES, f"{case.operation.label} doesn't say who may"
    # Some requests are sent without the token, or by a method that isn't there, to see what comes.
    sent = response.request.headers.get("Authorization", "")
    if response.request.method.upper() != case.operation.method.upper():
        return
    role = ROLE if sent.startswith("Bearer cgt_") else "none"
    status = response.status_code
    if ROLES.index(role) >= ROLES.index(least):
        # Proving who one is can fail, with whatever role.
        may_fail = least == "none" or case.path.startswith(OWN)
        assert may_fail or status not in (401, 403), f"a {role} is refused with {status}; {least} is enough"
    elif status not in BEFORE:
        due = 401 if role == "none" else 403
        assert status == due, f"{role}: {status} instead of {due}; the least role is {least}"
