"""Timestamp authorities over HTTP (RFC 3161 §3.4), verified with ``rfc3161-client``.

It is an extra (``tallystick[tsa]``), imported when somebody asks for it.  What is trusted are certificates
that the person names: roots, and where an answer does not carry them, intermediates and the authority's own.
They are judged at the time of the token, so a token outlives its certificate, and whoever checks it later
needs the same certificates.

Redirects are not followed and proxies of the environment are not used; an answer is read up to a limit and
within a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509

from domain.errors import InvalidError, LimitError, MalformedError, UnknownError
from ledger.timestamping import TOKEN_BYTES_MAX, Timestamp

if TYPE_CHECKING:
    from rfc3161_client import TimeStampRequest, TimeStampResponse, TimeStampTokenInfo

# An authority looks at its clock and signs; its way there may lead around the world.
TIMEOUT_SECONDS = 30.0
CERTIFICATES_BYTES_MAX = 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


class HttpTimestampAuthority:
    """A ``ledger.timestamping.TimestampAuthority`` at ``url``; without one it only verifies.

    Raises: UnknownError where the extra is not installed, MalformedError for what is no address.
    """

    def __init__(self, certificates: Sequence[x509.Certificate], url: str = "") -> None:
        try:
            import rfc3161_client
        except ImportError as error:
            raise UnknownError(
                "timestamps need an extra that is not installed",
                field="rfc3161-client",
                remedy="Install it: pip install 'tallystick[tsa]'.",
            ) from error
        self._library = rfc3161_client
        self._url = _checked(url) if url else ""
        self._roots = [one for one in certificates if one.issuer == one.subject]
        self._others = [one for one in certificates if one.issuer != one.subject]
        if not self._roots:
            raise InvalidError(
                "no root certificate to trust", field="--ca", expected="at least one that signed itself"
            )

    async def stamp(self, data: bytes) -> Timestamp:
        """See ``TimestampAuthority.stamp``."""
        builder = self._library.TimestampRequestBuilder(data, self._library.base.HashAlgorithm.SHA256)
        request = builder.build()
        answer = await self._post(request.as_bytes())
        return self._verified(answer, data, request)

    def verify(self, token: bytes, data: bytes) -> Timestamp:
        """See ``TimestampAuthority.verify``."""
        return self._verified(token, data, None)

    async def _post(self, query: bytes) -> bytes:
        if not self._url:
            raise MalformedError("no authority to ask", field="--url")
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
                session.post(
                    self._url,
                    data=query,
                    headers={"Content-Type": _QUERY, "Accept": _REPLY},
                    allow_redirects=False,
                ) as response,
            ):
                body = await response.content.read(TOKEN_BYTES_MAX + 1)
                while len(body) <= TOKEN_BYTES_MAX and (more := await response.content.readany()):
                    body += more
                status, kind = response.status, response.content_type
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InvalidError(
                "the timestamp authority cannot be reached",
                field=self._url,
                actual=str(error) or type(error).__name__,
                remedy="Nothing was recorded; try again later, or another authority.",
            ) from error
        if len(body) > TOKEN_BYTES_MAX:
            raise LimitError(
                "a timestamp that is too long", field=self._url, expected=f"<= {TOKEN_BYTES_MAX} bytes"
            )
        if status != 200 or kind != _REPLY:
            raise MalformedError(
                "not an answer of a timestamp authority",
                field=self._url,
                expected=f"200 {_REPLY}",
                actual=f"{status} {kind}",
            )
        return body

    def _verified(self, token: bytes, data: bytes, request: TimeStampRequest | None) -> Timestamp:
        try:
            response = self._library.decode_timestamp_response(token)
            refusal = "; ".join(response.status_string) if response.status else ""
            info = None if response.status else response.tst_info
            name = "" if info is None else _signer_name(response)
        except ValueError as error:
            raise MalformedError("not a timestamp", field=self._url, actual=str(error)[:200]) from error
        if info is None:
            raise InvalidError(
                "the timestamp authority refused",
                field=self._url,
                actual=f"status {response.status} {refusal}"[:200],
            )
        try:
            self._library.VerifierBuilder(
                roots=list(self._roots),
                intermediates=list(self._others),
                nonce=None if request is None else request.nonce,
            ).build().verify_message(response, data)
        except (self._library.VerificationError, ValueError) as error:
            raise InvalidError(
                "a timestamp does not verify",
                field=name,
                actual=str(error)[:200],
                remedy="Name the authority's root and intermediate certificates with --ca.",
            ) from error
        return Timestamp(
            authority=name,
            time_ns=(info.gen_time - _EPOCH) // _MICROSECOND * 1_000,
            accuracy_ns=_accuracy_ns(info),
            token=token,
        )


def parse_certificates(pem: bytes) -> list[x509.Certificate]:
    """Certificates in PEM.  Raises: MalformedError, LimitError."""
    if len(pem) > CERTIFICATES_BYTES_MAX:
        raise LimitError("too many certificates", expected=f"<= {CERTIFICATES_BYTES_MAX} bytes")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise MalformedError("not certificates in PEM", field="--ca", actual=str(error)[:200]) from error


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        raise MalformedError(
            "not an address of a timestamp authority", field="--url", expected="http(s)://…", actual=url[:200]
        )
    return url


def _signer_name(response: TimeStampResponse) -> str:
    """The subject of the certificate that signed; empty when the answer does not carry it."""
    signers = {(one.issuer, one.serial_number) for one in response.signed_data.signer_infos}
    for der in response.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(der)
        if (certificate.issuer, certificate.serial_number) in signers:
            return certificate.subject.rfc4514_string()
    return ""


def _accuracy_ns(info: TimeStampTokenInfo) -> int | None:
    accuracy = info.accuracy
    if accuracy is None:
        return None
    seconds, millis, micros = (part or 0 for part in (accuracy.seconds, accuracy.millis, accuracy.micros))
    return seconds * 1_000_000_000 + millis * 1_000_000 + micros * 1_000
