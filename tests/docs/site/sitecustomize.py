"""In every Python process of a documentation test: the providers' official hosts lead to the
simulator, below the transport, so that snippets run as they stand."""

import os

from perdure.testing.redirect import redirect

# Kept, since the end of this object would undo it.
redirected = redirect(
    dict.fromkeys(("api.anthropic.com", "api.openai.com"), os.environ["DOCS_PROVIDER"])
)
redirected.__enter__()
