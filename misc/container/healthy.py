"""Is the service in this container ready? Exit status 0 or 1, for HEALTHCHECK; needs no curl."""

import http.client
import os
import sys

try:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "18080")), timeout=4)
    root = os.environ.get("ROOT_PATH", "").strip().strip("/")
    connection.request("GET", f"/{root}/ready" if root else "/ready")
    ready = connection.getresponse().status == http.client.OK
except (OSError, http.client.HTTPException):
    ready = False
sys.exit(0 if ready else 1)
