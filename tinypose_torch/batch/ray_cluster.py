"""Workers as actors of Ray Data: on an existing cluster, or on one that is started on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import logging
import os
import pickle
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import cv2

from tinypose_torch.batch.dataset import BatchError
from tinypose_torch.batch.parts import Part
from tinypose_torch.batch.worker import Task, Work, Worker
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.hints import install_hint
from tinypose_torch.utils.messages import escaped, one_line

AUTO, LOCAL = "auto", "local"
_CONNECT_SECONDS = 10
_GPU_THREADS = 4  # cores of an actor on a GPU, which decode its images


class RayCluster:
    """Workers as actors on a Ray cluster; a context manager that disconnects from it.

    Args:
        address: ``HOST:PORT`` of a cluster; ``"auto"`` for the one of this machine, or else a new one; ``"local"`` for a
            new one on this machine.
        workers: Number of actors; as many as the cluster has room for unless given.
        threads: Cores of every actor on CPUs.
        device: With ``"cuda"`` every actor has its own GPU.

    Raises:
        RuntimeError: Ray is not installed.
        BatchError: There is no cluster at the address, or it has no such machine.
    """

    def __init__(self, address: str, workers: int | None, threads: int, device: str) -> None:
        self._ray, self._on_gpus = import_ray(), device != "cpu"
        _check_address(address)
        try:
            started = None if address == AUTO else address
            self._ray.init(started, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise BatchError(f"--ray {address}: {one_line(error)}") from None
        self.threads = _GPU_THREADS if self._on_gpus else threads
        self.workers = workers or self._count_workers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def _count_workers(self) -> int:
        resources = self._ray.cluster_resources()
        workers = int(resources.get("GPU", 0) if self._on_gpus else resources.get("CPU", 0) // self.threads)
        if not workers:
            raise BatchError(f"the Ray cluster has no {'GPU' if self._on_gpus else f'machine of {self.threads} cores'}")
        return workers

    def run(self, tasks: Iterable[Task], work: Work) -> Iterator[Part]:
        """Results of tasks as they are finished. Tasks of machines that are lost are repeated on others.

        Raises:
            BatchError: The cluster fails.
        """
        data = importlib.import_module("ray.data")
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the import set it
        data.DataContext.get_current().enable_progress_bars = False
        rows = [{"task": pickle.dumps(task)} for task in tasks]
        parts = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Actor,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=min(self.workers, len(rows))),
            num_cpus=self.threads,
            num_gpus=1 if self._on_gpus else 0,
        )
        finished = set[int]()  # a task may be repeated although its result came
        try:
            for row in parts.iter_rows():
                part = pickle.loads(row["part"])  # noqa: S301  of this run's own actors
                if isinstance(part, Exception):
                    raise part
                if part.number not in finished:
                    finished.add(part.number)
                    yield part
        except self._ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]  # of a traceback of an actor
            raise BatchError(f"the Ray cluster failed: {escaped(last)}") from None


class Actor:
    """A worker as Ray Data calls it: batches of pickled tasks in, pickled parts out."""

    def __init__(self, work: Work) -> None:
        cv2.setNumThreads(1)  # a machine's actors share its cores
        self._work = work
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """The parts of the tasks, or the errors, whose reasons Ray Data would not tell."""
        return {"part": [pickle.dumps(self._handle(pickle.loads(task))) for task in batch["task"]]}  # noqa: S301

    def _handle(self, task: Task) -> Part | Exception:
        try:
            self._worker = self._worker or self._work.start()  # here, where its error is returned, too
            return self._worker(task)
        except Exception as error:
            return error


@dataclasses.dataclass(frozen=True)
class ShippedFiles:
    """Makes an estimator on another machine, where it writes the files of the networks first.

    Attributes:
        networks: A dataclass with a method ``build`` and fields that are paths of files.
        files: Name and content of each file by the field.
    """

    networks: Any
    files: dict[str, tuple[str, bytes]]

    @classmethod
    def of(cls, networks: Any, *fields: str) -> ShippedFiles:
        """With the files that the fields name; folders and other values stay as they are."""
        paths = {field: Path(value) for field in fields if (value := getattr(networks, field)) is not None}
        return cls(networks, {name: (path.name, path.read_bytes()) for name, path in paths.items() if path.is_file()})

    def __call__(self, device: str | None = None) -> Any:
        """The estimator."""
        paths = {field: _written(*file) for field, file in self.files.items()}
        return dataclasses.replace(self.networks, **paths).build(device)


def _written(name: str, content: bytes) -> str:
    """A file in a folder of this user alone, which a machine's actors share."""
    folder = Path(tempfile.gettempdir(), f"tinypose-{os.getuid()}", hashlib.sha256(content).hexdigest())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    if not path.is_file() or path.stat().st_size != len(content):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return str(path)


def _check_address(address: str) -> None:
    """Refuse an address at which nothing answers, for which Ray would wait for minutes."""
    if address in (AUTO, LOCAL):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise BatchError(
            f"--ray {address}: no cluster answers there ({one_line(error)}); pass HOST:PORT of a running one, {AUTO} or {LOCAL}"
        ) from None


def import_ray() -> Any:
    """The module ``ray``.

    Raises:
        RuntimeError: It is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise RuntimeError(f"{error}; --ray needs Ray: {install_hint('ray')}") from None
