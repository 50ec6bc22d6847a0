"""Everything that `visage` raises on purpose; no HTTP in it (`api/problems.py` maps it).

VisageError
 ├─ ConfigurationError     the service cannot be built from its settings
 │   ├─ UnknownModel
 │   ├─ UnknownFamily
 │   └─ BackendUnavailable
 ├─ ModelFileError         a weight file is missing or not what it should be
 │   ├─ DownloadFailed
 │   ├─ ChecksumMismatch
 │   ├─ LicenceNotAccepted
 │   └─ GraphRejected
 │       └─ SelfTestFailed   a network that is computed here, and answers otherwise than it must
 ├─ ImageError             one image; its neighbours in the request are not concerned
 │   ├─ ImageUnreachable
 │   ├─ ImageUndecodable
 │   ├─ ImageTooLarge
 │   ├─ UnsupportedFormat
 │   ├─ CropRejected
 │   ├─ PathForbidden
 │   └─ UrlForbidden
 ├─ RequestTooLarge        more bytes or images than one request may carry
 ├─ Overloaded             no room now; worth trying again
 │   ├─ DeadlineExceeded
 │   ├─ ModelUnavailable   a network that was unloaded while idle cannot be loaded again
 │   ├─ DeviceLost         a device serves this process no more: only another process can do it
 │   └─ NotReady
 └─ InferenceFailed        a network did not return an answer
"""

from typing import ClassVar


class VisageError(Exception):
    """Base of all; `str(error)` is one line fit for the caller: no server path, no secret."""

    title: ClassVar[str] = "Internal error"


class ConfigurationError(VisageError):
    title = "Configuration error"


class UnknownModel(ConfigurationError):
    title = "Unknown model"


class UnknownFamily(ConfigurationError):
    title = "Unknown family"


class BackendUnavailable(ConfigurationError):
    title = "Backend unavailable"


class ModelFileError(VisageError):
    title = "Model file error"


class DownloadFailed(ModelFileError):
    title = "Model not available"


class ChecksumMismatch(ModelFileError):
    title = "Checksum mismatch"


class LicenceNotAccepted(ModelFileError):
    title = "Licence not accepted"


class GraphRejected(ModelFileError):
    title = "Network rejected"


class SelfTestFailed(GraphRejected):
    title = "Self-test failed"


class ImageError(VisageError):
    title = "Image error"


class ImageUnreachable(ImageError):
    title = "Image unreachable"


class ImageUndecodable(ImageError):
    title = "Image undecodable"


class ImageTooLarge(ImageError):
    title = "Image too large"


class UnsupportedFormat(ImageError):
    title = "Unsupported image format"


class CropRejected(ImageError):
    title = "Not an aligned crop"


class PathForbidden(ImageError):
    title = "Path forbidden"


class UrlForbidden(ImageError):
    title = "Address forbidden"


class RequestTooLarge(VisageError):
    title = "Request too large"


class Overloaded(VisageError):
    """The service has no room; `retry_after` is a whole number of seconds."""

    title = "Overloaded"

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DeadlineExceeded(Overloaded):
    title = "Deadline exceeded"


class ModelUnavailable(Overloaded):
    title = "Model unavailable"


class DeviceLost(Overloaded):
    title = "Device lost"


class NotReady(Overloaded):
    title = "Not ready"


class InferenceFailed(VisageError):
    title = "Inference failed"
