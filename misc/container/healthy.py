"""Is the service in this container ready? Exit status 0 or 1, for HEALTHCHECK; needs no curl."""

import http.client
import os
import sys

try:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "18080")), timeout=4)
    connection.request("GET", os.environ.get("ROOT_PATH", "").rstrip("/") + "/ready")
    ready = connection.getresponse().status == http.client.OK
except (OSError, http.client.HTTPException):
    ready = False
sys.exit(0 if ready else 1)
