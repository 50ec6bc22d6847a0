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
 ├─ UnknownContentCoding   a body packed in a way that is not undone here
 ├─ BodyBroken             a body that is not packed as it says
 ├─ Overloaded             no room now; worth trying again
 │   ├─ DeadlineExceeded
 │   ├─ ModelUnavailable   a network that was unloaded while idle cannot be loaded again
 │   ├─ DeviceLost         a device serves this process no more: only another process can do it
 │   ├─ NotReady
 │   ├─ ServiceStopping    it was told to end: the next one, or the same one started again, can do it
 │   └─ RateLimited        a caller asks more often than their key allows
 ├─ InferenceFailed        a network did not return an answer
 ├─ NoRecogniser           vectors are asked for, and no network is loaded that makes them
 ├─ NoFace                 a picture that must show a face shows none
 ├─ ThresholdUnknown       from which similarity on it is one person: nobody has said
 ├─ BackupRefused          one that cannot be made, or may not be put back
 ├─ KeyReused              an idempotency key came again with another request
 ├─ Unauthorised           the caller has not shown who they are, or may not do this
 │   └─ Forbidden
 └─ SearchError            galleries
     ├─ CollectionMissing
     ├─ PersonMissing
     ├─ FaceMissing
     ├─ AlreadyThere
     ├─ NothingEnrolled    every picture was refused
     ├─ RowInvalid         one row of a stream; its neighbours are not concerned
     ├─ AnswerNotRead      a stream is sent on and on, and nobody reads what it is answered
     ├─ EmbeddingMismatch  vectors of another recogniser, or of another length
     └─ StoreUnavailable   worth trying again
"""

from collections.abc import Sequence
from typing import Any, ClassVar


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


class UnknownContentCoding(VisageError):
    title = "Content coding not known"


class BodyBroken(VisageError):
    title = "Body cannot be unpacked"


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


class ServiceStopping(Overloaded):
    title = "Service stopping"


class RateLimited(Overloaded):
    title = "Rate limited"


class InferenceFailed(VisageError):
    title = "Inference failed"


class NoRecogniser(VisageError):
    title = "No recogniser"


class NoFace(VisageError):
    """`side`: which of several pictures, as the caller calls it."""

    title = "No face"

    def __init__(self, detail: str, *, side: str = "") -> None:
        super().__init__(detail)
        self.side = side


class ThresholdUnknown(VisageError):
    title = "No threshold known"


class BackupRefused(VisageError):
    title = "Backup refused"


class KeyReused(VisageError):
    title = "Idempotency key used for another request"


class Unauthorised(VisageError):
    title = "Unauthorised"


class Forbidden(Unauthorised):
    title = "Forbidden"


class SearchError(VisageError):
    title = "Search error"


class CollectionMissing(SearchError):
    title = "No such collection"


class PersonMissing(SearchError):
    title = "No such person"


class FaceMissing(SearchError):
    title = "No such face"


class AlreadyThere(SearchError):
    title = "Already there"


class NothingEnrolled(SearchError):
    """`images`: what became of each picture, as the answer would have told it."""

    title = "Nothing enrolled"

    def __init__(self, detail: str, *, images: Sequence[Any] = ()) -> None:
        super().__init__(detail)
        self.images = images


class RowInvalid(SearchError):
    title = "Row not read"


class AnswerNotRead(SearchError):
    title = "Answer not read"


class EmbeddingMismatch(SearchError):
    title = "Embedding mismatch"


class StoreUnavailable(SearchError):
    """`retry_after` is a whole number of seconds. `lasting`: somebody has to mend something first."""

    title = "Store unavailable"

    def __init__(self, detail: str, *, retry_after: int = 1, lasting: bool = False) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.lasting = lasting
