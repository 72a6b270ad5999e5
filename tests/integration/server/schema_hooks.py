"""What schemathesis cannot know: a valid Idempotency-Key that comes again with another body is
refused, and rightly. So each valid one is made unlike all others."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import schemathesis

from perdure.server.submission import KEY_PATTERN, MAX_KEY

NAME = "Idempotency-Key"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    key = (case.headers or {}).get(NAME)
    if isinstance(key, str) and len(key) <= MAX_KEY and re.fullmatch(KEY_PATTERN, key):
        case.headers[NAME] = f"{uuid4()}"
