"""What an S3 server refused, in one sentence: by whom it can be mended decides which error it is."""

from __future__ import annotations

from minio.error import S3Error

from deepperception.errors import InfrastructureError, InputError


def refusal(error: Exception, action: str, bucket: str, place: str, server: str) -> InputError | InfrastructureError:
    """The error to raise for one of the client's. `action`, such as "read objects", could not be done at `place`.

    Waiting mends none of these: outages have been waited for before.
    """
    if not isinstance(error, S3Error):
        what = (str(error) or type(error).__name__).splitlines()[0][:200]
        return InfrastructureError(f"{server}: this is no answer of an S3 server ({what}); look at s3.endpoint.")
    match error.code:
        case "NoSuchBucket":
            return InputError(f"{server}: there is no bucket '{bucket}'; create it, or correct the store's address.")
        case "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken":
            return InputError(
                f"{server}: the key is not accepted ({error.code}); "
                "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        case "AccessDenied" | "AllAccessDisabled" | "AccountProblem":
            return InputError(
                f"{place}: the user of AWS_ACCESS_KEY_ID may not {action} here; "
                "give them the right, or another user's key."
            )
        case "RequestTimeTooSkewed":
            return InputError(f"{server}: its clock and this machine's differ too much; set the clock.")
        case "AuthorizationHeaderMalformed" | "PermanentRedirect" | "Redirect" | "IncorrectEndpoint":
            return InputError(
                f"{server}: the bucket '{bucket}' is elsewhere ({error.message}); correct s3.region or endpoint."
            )
        case "QuotaExceeded" | "XMinioStorageFull" | "EntityTooLarge":
            return InputError(f"{place}: the store is full ({error.code}); make room with `deepperception gc`.")
    told = ": ".join(part for part in (error.code, error.message) if part)
    return InfrastructureError(f"{place}: the S3 server could not {action} ({told}); look at its log.")
