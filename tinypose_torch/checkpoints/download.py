"""Official checkpoints: downloaded once, checked, converted and cached."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tinypose_torch.checkpoints.cache_folder import cache_dir, locked_in_cache
from tinypose_torch.checkpoints.errors import CheckpointError, shown
from tinypose_torch.checkpoints.files import save_safetensors
from tinypose_torch.checkpoints.limits import (
    ANSWER_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    MAX_FILE_BYTES,
    MIN_BYTES_PER_S,
    RATE_AFTER_S,
    TRANSFER_TIMEOUT_S,
)
from tinypose_torch.checkpoints.load import load_weights
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.models.weights import WeightsFile
from tinypose_torch.utils.atomic import OutputError, output_errors, write_to_disk
from tinypose_torch.utils.messages import without_passwords

MIRROR_VARIABLE = "TINYPOSE_MIRROR"
ATTEMPTS = 3
_CHUNK = 1 << 18


class DownloadError(OSError):
    """A checkpoint could not be fetched. The message says which file to put where instead."""


def fetch_pretrained(config: ModelConfig, tag: str | None = None) -> Path:
    """The official weights of a model as a safetensors file in the cache.

    Args:
        tag: One of ``config.weights``; the first unless given.

    Raises:
        ValueError: Unknown tag, or a model without published weights.
        DownloadError: No network, no such file, or a transfer that failed its checks.
        OutputError: The cache folder cannot be written to, or its disc is full.
        CheckpointError: The file is not what the model expects.
    """
    if not config.weights:
        raise ValueError(
            f"{config.name} has no published weights; pass a weight file, for example one that you trained"
        )
    tag = tag or next(iter(config.weights))
    if tag not in config.weights:
        raise ValueError(f"{config.name} has no weights {tag!r}; it has {', '.join(map(repr, config.weights))}")
    folder = cache_dir()
    converted = folder / f"{config.name}-{tag}.safetensors"
    if converted.is_file():
        return converted
    file = config.weights[tag]
    source = folder / "downloads" / file.filename
    with locked_in_cache(source):
        if not converted.is_file():
            _fetch_and_convert(config, tag, file, source, converted)
    return converted


def _fetch_and_convert(config: ModelConfig, tag: str, file: WeightsFile, source: Path, converted: Path) -> None:
    fetched = not source.is_file()
    if fetched:
        download(file, source)
    network = config.build()
    try:
        load_weights(network, source)
    except CheckpointError as error:
        if fetched:
            source.unlink()
            raise CheckpointError(f"{error} (the download was removed; try again)") from None
        raise CheckpointError(f"{error} (remove the file to download it again)") from None
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    save_safetensors(
        network,
        converted,
        {"model": config.name, "weights": tag, "source": file.url, "source_sha256": digest},
    )


def source_url(file: WeightsFile) -> str:
    """The address to download from: the official one, or ``$TINYPOSE_MIRROR`` + file name."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return file.url
    if urllib.parse.urlsplit(mirror).scheme not in ("http", "https"):
        raise DownloadError(f"{MIRROR_VARIABLE}={mirror.rpartition('@')[2]!r} is not an http or https address")
    return f"{mirror.rstrip('/')}/{file.filename}"


def download(file: WeightsFile, target: Path) -> None:
    """Download to ``target``, resuming an earlier attempt, and put the file there only when it is whole.

    Raises:
        DownloadError: After `ATTEMPTS` tries, or at once if the server says that the file is not there.
        OutputError: The disc is full; what has arrived so far stays for the next attempt.
    """
    url = source_url(file)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with output_errors(target):
                _transfer(url, target)
            return
        except OutputError:
            raise
        except urllib.error.HTTPError as error:
            reason, final = f"HTTP {error.code} {error.reason}", error.code in (401, 403, 404, 410)
        except urllib.error.URLError as error:
            reason, final = str(error.reason), False
        except (OSError, http.client.HTTPException) as error:
            reason, final = str(error) or type(error).__name__, False
        if final or attempt == ATTEMPTS:
            break
        time.sleep(0.5 * attempt)
    raise DownloadError(
        f"could not download {without_passwords(url)}: {reason}; "
        f"without a network, fetch {file.url} elsewhere and put it here: {target} "
        f"(or name a server that has {file.filename!r} in the environment variable {MIRROR_VARIABLE})"
    )


def _transfer(url: str, target: Path) -> None:
    partial = target.with_name(target.name + ".part")
    validator = target.with_name(target.name + ".part.validator")
    request = _request(url)
    url = without_passwords(url)  # for messages
    have = partial.stat().st_size if partial.is_file() and validator.is_file() else 0
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator.read_text())
    try:
        response = _answer(request)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the partial file does not belong to what the server has now
            _discard(partial, validator)
        raise
    with response:
        if url.startswith("https:") and not response.geturl().startswith("https:"):
            raise DownloadError(f"{url} redirects to {without_passwords(response.geturl())}, which is not secure")
        resumed = response.status == 206
        start = have if resumed else 0
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _discard(partial, validator)
            raise DownloadError("the server sends another part of the file than was asked for")
        total = start + _declared_length(response)
        if total > MAX_FILE_BYTES:
            raise DownloadError(f"{url} declares {total} bytes; at most {MAX_FILE_BYTES} are accepted")
        stamp = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if not resumed:
            _discard(partial, validator)  # first, so that no validator of another version stands beside it
            if stamp:
                validator.write_text(stamp)
        with (
            partial.open("ab" if resumed else "wb") as out,
            tqdm(
                total=total or None,
                initial=start,
                unit="B",
                unit_scale=True,
                desc=target.name,
                disable=None,
            ) as bar,
        ):
            _copy(response, out.write, bar.update, MAX_FILE_BYTES - start)
        checksum = None if resumed else response.headers.get("Content-MD5")
    size = partial.stat().st_size
    if total and size < total:
        raise DownloadError(f"connection lost after {size} of {total} bytes")
    if total and size > total:
        _discard(partial, validator)
        raise DownloadError(f"received {size} bytes, {total} were declared")
    if checksum and not _md5_matches(partial, checksum):
        _discard(partial, validator)
        raise DownloadError("the file arrived damaged: its MD5 differs from the server's")
    write_to_disk(partial)
    os.replace(partial, target)
    _discard(validator)


def _request(url: str) -> urllib.request.Request:
    """A request whose user name and password, if the address has them, go to its server alone."""
    request = urllib.request.Request(without_passwords(url), headers={"User-Agent": "tinypose-torch"})
    parts = urllib.parse.urlsplit(url)
    if parts.username is not None:
        user = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    return request


def _discard(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _answer(request: urllib.request.Request) -> Any:
    """The response to a request; a server that sends its headers too slowly is given up."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S))
        except Exception as error:
            answers.put(error)

    # Only the single reads of a header have a time limit. The thread ends with its connection.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_TIMEOUT_S)
    except queue.Empty:
        raise DownloadError(f"no answer within {ANSWER_TIMEOUT_S:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _declared_length(response: http.client.HTTPResponse) -> int:
    text = response.headers.get("Content-Length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise DownloadError(f"the server declares a length of {shown(text)}")
    return int(text)


def _copy(
    response: http.client.HTTPResponse,
    write: Callable[[bytes], object],
    progress: Callable[[int], object],
    most: int,
) -> None:
    """Copy a response of at most ``most`` bytes that arrives fast enough."""
    received, began = 0, time.monotonic()
    while block := response.read1(_CHUNK):
        received += len(block)
        if received > most:
            raise DownloadError(f"the server sends more than {MAX_FILE_BYTES} bytes")
        write(block)
        progress(len(block))
        seconds = time.monotonic() - began
        if seconds > RATE_AFTER_S and received < MIN_BYTES_PER_S * seconds:
            raise DownloadError(f"the server sends only {received / seconds:.0f} bytes per second")
        if seconds > TRANSFER_TIMEOUT_S:
            raise DownloadError(f"the transfer takes longer than {TRANSFER_TIMEOUT_S:g} seconds")


def _md5_matches(path: Path, declared: str) -> bool:
    """Compare with a ``Content-MD5`` header: base64 (RFC 1864), or hexadecimal as some servers send it."""
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False)
    return declared in (base64.b64encode(digest.digest()).decode(), digest.hexdigest())
