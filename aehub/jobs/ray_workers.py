"""Workers on the machines of a Ray cluster: the executor for more files than one machine can take.

A worker is an actor that lives as long as the run, so that it loads a model once. It writes results
into the folder of the run if it sees that folder, on a file system that the machines share, and
sends them to this program otherwise. A worker that dies is replaced; its task is `Lost`, which the
engine gives to another one, as it does with local processes.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from aehub import threads
from aehub.config import __version__, positive_integer
from aehub.errors import BusyError, InputError, count_text
from aehub.jobs.task import Event, Failed, Finished, Lost, Task, Ticked

AUTO, LOCAL = "auto", "local"
"""Addresses: of the cluster that this machine belongs to; of one that is started here."""
_ADDRESS = re.compile(r"\[?([^\s/\[\]]+?)\]?:(\d{1,5})")
_CONNECT_SECONDS = 5.0
"""Until an address that nobody answers at is given up; Ray itself takes two minutes."""
_START_SECONDS = 600.0
"""Until a cluster that starts no worker is given up: machines of a cloud take minutes to come."""
_TICK_SECONDS = 0.2
"""Between two messages of progress of a worker, at least."""
_TICKS = 100
"""Messages of progress in a second that this program takes of all workers together."""
_PIECE_BYTES = 4 << 20
_PIECES_AHEAD = 4
"""Pieces of a result that are under way to this program, so that it cannot run out of memory."""
_STORE_BYTES = 200_000_000
"""Room for results under way of a Ray that is started here."""
_ENVIRONMENT = {
    # Said in our own sentences.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*", "RAY_BACKEND_LOG_LEVEL": "fatal",
    # No server is asked but those of the cluster.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A worker without a GPU of its own sees none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


class _Piece(NamedTuple):
    """Bytes of a result on their way to the program: file below the output, its position in it."""

    number: int
    name: str
    position: int
    data: bytes


class RayWorkers:
    """Workers of a Ray cluster: an `Executor`.

    Args:
        address: "host:port" of the head of the cluster, "auto" or "local".
        workers: at most; by default as many as the cluster has room for.
        n_threads: cores of each; by default `AEHUB_THREADS`, or one, which makes the most of them
            where there are more files than cores.
        n_gpus: GPUs of each.

    Raises:
        InputError: Ray is not installed, the address is none, or nobody answers there.
    """

    def __init__(self, address: str = AUTO, workers: int | None = None, *,
                 n_threads: int | None = None, n_gpus: int = 0) -> None:
        self._ray = _import_ray(address)
        self.n_threads = n_threads or positive_integer(os.environ, threads.VARIABLE) or 1
        self._n_gpus, self._address = n_gpus, address
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _connect(self._ray, address)
        self._actor = self._ray.remote(
            num_cpus=self.n_threads, num_gpus=n_gpus, max_restarts=0, max_task_retries=0,
            scheduling_strategy="SPREAD")(_Actor)
        self._starting = dict[Any, _Worker]()
        self._working = dict[Any, _Worker]()
        self._free = list[_Worker]()
        self._queue = deque[Task]()
        self._events = list[Event]()
        # Workers that cannot start are not replaced.
        self._refused = 0
        self._reason = ""
        self._count = workers or self._room()

    @property
    def slots(self) -> int:
        """Number of workers that have started."""
        return max(1, len(self._free) + len(self._working))

    @property
    def count(self) -> int:
        """Number of workers asked for, fewer by those that could not start."""
        return self._count - self._refused

    @property
    def notes(self) -> list[str]:
        """Sentences on workers that could not start."""
        return [f"{count_text(self._refused, 'worker')} of {self._count} could not start: "
                f"{self._reason}"] if self._refused else []

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that have started, each on its machine."""
        return [worker.process_id for worker in (*self._free, *self._working.values())]

    def submit(self, task: Task) -> None:
        """Begin a task, at once or as soon as a worker is free."""
        self._queue.append(task)
        self._start()
        self._assign()

    def wait(self) -> list[Event]:
        """Wait until something happened, and return it; nothing if that is a worker that started.

        Raises:
            BusyError: no worker started for ten minutes.
            InputError: none can start.
        """
        waiting = [*self._starting, *self._working]
        limit = None if self._working else _START_SECONDS
        done, _ = self._ray.wait(waiting, num_returns=1, timeout=limit)
        if not done:
            raise self._busy()
        # All at once: a question costs as much as there are workers.
        done, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        for one in done:
            if one in self._starting:
                self._started(self._starting.pop(one), one)
            else:
                self._received(self._working[one], one)
        self._start()
        self._assign()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """End all workers, and the connection if it was made here."""
        self._queue.clear()
        workers = [*self._starting.values(), *self._working.values(), *self._free]
        self._starting, self._working, self._free = {}, {}, []
        for worker in workers:
            with suppress(Exception):
                self._ray.kill(worker.actor)
        if self._is_ours and self._ray.is_initialized():
            self._ray.shutdown()

    def _room(self) -> int:
        """Workers that the cluster has cores and GPUs for."""
        resources = self._ray.cluster_resources()
        room = int(resources.get("CPU", 0)) // self.n_threads
        if self._n_gpus:
            room = min(room, int(resources.get("GPU", 0)) // self._n_gpus)
        if room < 1:
            self.close()
            raise InputError(f"the Ray cluster has no room for a worker: {self._needs()}, and it "
                             f"has {_resources_text(resources)}; give a worker less, or the "
                             "number of workers if machines are still to come.")
        return room

    def _busy(self) -> BusyError:
        has = _resources_text(self._ray.available_resources())
        return BusyError(f"no worker started within {_START_SECONDS / 60:.0f} minutes: "
                         f"{self._needs()}, and {has} of the Ray cluster are free; wait until "
                         "others are done with it.")

    def _needs(self) -> str:
        gpus = f" and {count_text(self._n_gpus, 'GPU')}" if self._n_gpus else ""
        return f"it needs {count_text(self.n_threads, 'core')}{gpus}"

    def _start(self) -> None:
        """Start workers up to their number, and twice as many as there are at most: the first tasks
        need not wait for the last worker, and few tasks need few."""
        running = len(self._free) + len(self._working)
        wanted = min(self.count, max(len(self._queue) + len(self._working), 2 * running))
        for _ in range(wanted - running - len(self._starting)):
            actor = self._actor.remote()
            self._starting[actor.start.remote(__version__, self.n_threads)] = _Worker(actor)

    def _started(self, worker: _Worker, answer: Any) -> None:
        try:
            worker.process_id, reason = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            reason = _reason(error)
        if not reason:
            self._free.append(worker)
            return
        self._refused += 1
        self._reason = reason
        if not self.count or not (self._starting or self._free or self._working):
            raise InputError(f"no worker can start: {reason}")

    def _assign(self) -> None:
        """Give waiting tasks to free workers."""
        interval = max(_TICK_SECONDS, self.slots / _TICKS)
        while self._queue and self._free:
            worker = self._free.pop()
            worker.begin(self._queue.popleft())
            answers = worker.actor.work.options(
                num_returns="streaming", _generator_backpressure_num_objects=_PIECES_AHEAD
            ).remote(worker.task, interval)
            self._working[answers] = worker

    def _received(self, worker: _Worker, answers: Any) -> None:
        """Take the next answer of a worker."""
        task = worker.task
        assert task is not None
        try:
            answer = self._ray.get(next(answers))
        except (self._ray.exceptions.RayError, StopIteration) as error:
            del self._working[answers]
            with suppress(Exception):
                self._ray.kill(worker.actor)
            self._events.append(Lost(task.number, _reason(error)))
            return
        if isinstance(answer, _Piece):
            worker.write(answer)
            return
        if not isinstance(answer, Ticked):
            del self._working[answers]
            answer = worker.end(answer)
            self._free.append(worker)
        self._events.append(answer)


class _Worker:
    """An actor and the task that it works on."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.process_id = 0
        self.task: Task | None = None
        self._error: OSError | None = None

    def begin(self, task: Task) -> None:
        self.task, self._error = task, None

    def write(self, piece: _Piece) -> None:
        """Write a piece of a result to where the task was to write it."""
        assert self.task is not None
        output = Path(str(self.task.arguments["output"]))
        path = output / piece.name if piece.name else output
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The first piece of an attempt replaces what one before it left.
            with path.open("r+b" if piece.position else "wb") as file:
                file.seek(piece.position)
                file.write(piece.data)
        except OSError as error:
            self._error = error

    def end(self, event: Event) -> Event:
        """The end of the task, after everything of it was written."""
        error = self._error
        self.task = None
        if error is None or isinstance(event, Failed):
            return event
        return Failed(event.number, f"its result cannot be written: {error.strerror or error}.")


class _Actor:
    """The worker itself, on its machine."""

    def start(self, version: str, n_threads: int) -> tuple[int, str]:
        """Prepare for tasks; return the process, and a sentence on why it can do none."""
        if version != __version__:
            return os.getpid(), (f"{_host()} has aehub {__version__}, and the command is of "
                                 f"{version}; install the same on all machines.")
        # Before torch is loaded. Ray sets its own number, which limits that of the budget.
        threads.set_budget(n_threads)
        return os.getpid(), ""

    def work(self, task: Task, interval: float) -> Iterator[Event | _Piece]:
        """Run a task: progress every `interval` seconds, the result, and how it ended."""
        from aehub.jobs.work import performed

        missing = _missing(task.arguments)
        if missing:
            yield Failed(task.number, missing)
            return
        with _place_for(task) as (here, folder):
            end = yield from performed(here, interval)
            if folder is not None and isinstance(end, Finished):
                yield from _pieces(task.number, Path(str(here.arguments["output"])))
        yield end


def _missing(arguments: Mapping[str, Any]) -> str:
    """A sentence if the input is not on this machine."""
    from aehub.jobs.uris import is_uri

    source = arguments.get("source")
    if not isinstance(source, str) or is_uri(source) or os.path.lexists(source):
        return ""
    return (f"{Path(source).name} is not found on {_host()}; put it where all machines of the "
            "cluster see it at the same path, or give its address, such as s3://.")


@contextmanager
def _place_for(task: Task) -> Iterator[tuple[Task, str | None]]:
    """The task with an output that can be written here, and the folder of that if it is of this
    machine alone. The place that it had is of one run, so nothing else can have its name."""
    output = task.arguments.get("output")
    if output is None or os.access(Path(output).parent, os.W_OK):
        yield task, None
        return
    with tempfile.TemporaryDirectory(prefix="aehub-") as folder:
        here = str(Path(folder) / Path(output).name)
        yield replace(task, arguments={**task.arguments, "output": here}), folder


def _pieces(number: int, output: Path) -> Iterator[_Piece]:
    """Everything that was written, a file or a folder of files."""
    files: Iterable[Path] = [output]
    if output.is_dir():
        files = sorted(path for path in output.rglob("*") if path.is_file())
    for path in files:
        name = "" if path == output else path.relative_to(output).as_posix()
        with path.open("rb") as file:
            position = 0
            while (data := file.read(_PIECE_BYTES)) or not position:
                yield _Piece(number, name, position, data)
                position += len(data)
                if not data:
                    break


def _import_ray(address: str) -> Any:
    # Ray reads them when it is imported. Whoever reaches a Ray could run what they like on it; it
    # would keep the token of one that is started here in the user's folder, for all to come.
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in (_ENVIRONMENT | (own if address == LOCAL else {})).items():
        if "ray" not in sys.modules:
            os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise InputError("Ray is not installed; run: pip install 'aehub[ray]'") from None
    return ray


def _connect(ray: Any, address: str) -> None:
    """Connect this process to a cluster, or start one on this machine alone."""
    settings: dict[str, Any] = {}
    if address == LOCAL:
        settings = {"num_cpus": threads.workers(), "object_store_memory": _STORE_BYTES,
                    "include_dashboard": False}
    elif address != AUTO:
        _check_address(address)
    try:
        with _same_signals(), _quiet():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **settings)
    except (RuntimeError, ValueError, OSError) as error:
        if address == AUTO and isinstance(error, ConnectionError):
            raise InputError("no Ray cluster runs on this machine; give the address of the head of "
                             "one.", "Or start one here: ray start --head.") from error
        raise InputError(f"Ray at {address} cannot be used: {_first_line(error)}",
                         "If it asks for a token, set RAY_AUTH_MODE=token.") from error


def _check_address(address: str) -> None:
    """Refuse an address that is none, or that nobody answers at.

    Raises:
        InputError: with a sentence on which.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise InputError(f"{address} is no address of a Ray cluster; give HOST:PORT of its head, "
                         "such as 10.0.0.1:6379, or auto on one of its machines.")
    try:
        socket.create_connection((match[1], int(match[2])), _CONNECT_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"no Ray cluster answers at {address} ({reason}); check the address, and "
                         "that its head runs.") from error


@contextmanager
def _same_signals() -> Iterator[None]:
    """Keep what this program does at SIGTERM: Ray sets a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what the libraries of Ray write to the error stream past Python while they connect: it
    comes back as an exception."""
    sys.stderr.flush()
    with open(os.devnull, "wb") as nothing:
        kept = os.dup(2)
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _reason(error: BaseException) -> str:
    """A sentence on why a worker died."""
    text = str(error)
    if re.search(r"OUT_OF_MEMORY|OutOfMemory|low on memory|memory usage threshold", text):
        return (f"memory ran out{_place(text)}; give the cluster fewer workers, or a shorter or "
                "smaller clip.")
    if module := re.search(r"No module named '([\w.]+)'", text):
        return (f"a machine of the cluster has no {module[1]}; install aehub {__version__} on all "
                "of them.")
    return (f"its worker died{_place(text)}, as happens where memory runs out or a machine is "
            "taken away; the same command tries again, and fewer workers take less memory.")


def _place(text: str) -> str:
    found = re.search(r"\bip: (\S+)", text) or re.search(r"IP[^:]*: ([\d.]+)", text)
    return f" on {found[1]}" if found else ""


def _host() -> str:
    return socket.gethostname()


def _resources_text(resources: Mapping[str, float]) -> str:
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    return count_text(cores, "core") + (f" and {count_text(gpus, 'GPU')}" if gpus else "")


def _first_line(error: BaseException) -> str:
    """The first sentence of a message of Ray, which may have many."""
    text = " ".join(str(error).split())
    return text.split(". ")[0].rstrip(".") + "."
