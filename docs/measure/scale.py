"""What many files cost: a core, a worker, the program that hands out tasks, and 1,000 workers.

    python docs/measure/scale.py [--files 100000] [--ray local|HOST:PORT|no] [--seconds 10]

Makes its own clips (a pan over smooth noise with edges) and files, measures each part alone, and
then simulates many workers with these numbers. Processor time is counted where it can be, so that
other work on the machine changes little. Linux.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speed import moving_clip

import aehub
from aehub import threads
from aehub.errors import InputError
from aehub.jobs.manifest import Entry, Manifest, OutputFolder
from aehub.jobs.plan import MEDIA, Job, plan_files
from aehub.jobs.processes import LocalProcesses
from aehub.jobs.ray_workers import RayWorkers
from aehub.jobs.run import iter_events, iter_files
from aehub.jobs.task import Event, Executor, Finished, Outcome, Task
from aehub.results import run_job

SIZES = ((320, 180), (640, 360), (1280, 720), (1920, 1080))
FRAMES = 50
"""Two seconds at 25 frames per second."""
RESULT_BYTES = 1_000_000
"""Of a result in the measurements of the driver: a minute of 640x360 at quality 50, about."""
GROUP = 16
"""Results that are done while the program notes others, where many workers keep it busy."""
WORKERS = (1, 10, 100, 300, 1000, 3000, 10_000)
_TICKS = os.sysconf("SC_CLK_TCK")


def of_process(process: int) -> tuple[float, int]:
    """(processor seconds, most bytes of memory) of a running process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{process}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(peak.split()[1]) * 1024


def compress_task(number: int, clip: Path, **options: Any) -> Task:
    return Task(number, "compress", {"source": str(clip), "output": f"{clip}-{number}.aev",
                                     "force": True, **options})


def finished(tasks: list[Task], executor: Executor) -> list[Any]:
    """Results of tasks that all succeed."""
    ends = [event for event in iter_events(tasks, executor) if not hasattr(event, "total")]
    assert all(isinstance(event, Finished) for event in ends), ends
    return [event.outcome.values for event in ends if isinstance(event, Finished)]


def workers_of_one_core(place: Path) -> dict[str, Any]:
    """Processor seconds a frame and memory of a worker with one thread, by size and effort."""
    found: dict[str, Any] = {"start": {}, "frames": [], "memory": []}
    for width, height in SIZES:
        clip = place / f"{width}x{height}.mkv"
        moving_clip(clip, width, height, FRAMES)
        for effort, measure in ((0, False), (5, False), (5, True)):
            with closing(LocalProcesses(1)) as executor:
                began = time.monotonic()
                options = {"effort": effort, "measure": measure, "trim": "0f:1f"}
                finished([compress_task(0, clip, **options)], executor)
                found["start"][f"effort {effort}"] = time.monotonic() - began
                (process,) = executor.process_ids
                before, began = of_process(process)[0], time.monotonic()
                (values,) = finished([compress_task(1, clip, effort=effort, measure=measure)],
                                     executor)
                after, memory = of_process(process)
                found["frames"].append({
                    "size": f"{width}x{height}", "effort": effort, "measured": measure,
                    "seconds": (after - before) / FRAMES, "bytes": values["bytes"] / FRAMES,
                    "memory": memory, "wall": (time.monotonic() - began) / FRAMES})
    return found


def per_task(executor: Executor, file: Path, count: int) -> tuple[float, float]:
    """(processor seconds of this process, seconds) of a task that does next to nothing."""
    finished([Task(0, "verify", {"source": str(file)})], executor)
    tasks = [Task(number, "verify", {"source": str(file)}) for number in range(count)]
    began, used = time.monotonic(), time.process_time()
    finished(tasks, executor)
    return (time.process_time() - used) / count, (time.monotonic() - began) / count


def ray_costs(address: str, file: Path, count: int) -> dict[str, float]:
    """Seconds of a task on Ray, of asking 1,000 workers at once, of a megabyte through Ray."""
    with closing(RayWorkers(address, 1)) as executor:
        import ray

        cpu, wall = per_task(executor, file, count)

        @ray.remote(num_cpus=0)
        class Source:
            def items(self, n: int, size: int) -> Iterator[bytes]:
                for _ in range(n):
                    yield b"x" * size

        source = Source.remote()
        pending = [source.items.options(num_returns="streaming").remote(1, 1) for _ in range(1000)]
        ray.wait(pending, num_returns=1000, timeout=60)
        began = time.process_time()
        for _ in range(20):
            ray.wait(pending, num_returns=1000, timeout=0)
        asked = (time.process_time() - began) / 20
        n, size = 50, 4 << 20
        began_wall = time.monotonic()
        for item in source.items.options(num_returns="streaming").remote(n, size):
            ray.get(item)
        megabyte = (time.monotonic() - began_wall) / (n * size / 1e6)
    return {"cpu": cpu, "wall": wall, "asked": asked, "megabyte": megabyte}


class Immediate:
    """An executor without workers: every result is there at once, of all slots together."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._numbers: list[Task] = []

    def submit(self, task: Task) -> None:
        Path(task.arguments["output"]).write_bytes(b"x" * RESULT_BYTES)
        self._numbers.append(task)

    def wait(self) -> list[Event]:
        tasks, self._numbers = self._numbers, []
        return [Finished(task.number, Outcome({"bytes": RESULT_BYTES})) for task in tasks]

    def close(self) -> None:
        pass


def driver_costs(place: Path, count: int) -> dict[str, float]:
    """Seconds a file of the engine and the manifest: alone, with others that are done at the same
    time, and of a run that finds everything done."""
    films = place / "films"
    films.mkdir()
    for number in range(count):
        (films / f"{number}.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    job, found = Job("compress", {}, ".aev", MEDIA), {}
    for name, out, slots in (("file", "out", 1), ("group", "grouped", GROUP), ("done", "out", 1)):
        with OutputFolder(place / out) as folder:
            plan = plan_files(job, [str(films)], place / out, manifest=folder.manifest)
            began, used = time.monotonic(), time.process_time()
            run_job(iter_files(job, plan, Immediate(slots), folder), None)
            found[name] = (time.monotonic() - began) / count
            found[f"{name}_cpu"] = (time.process_time() - used) / count
    return found


def manifest_costs(place: Path, count: int) -> dict[str, float]:
    """Bytes, seconds to read and memory of the manifest of many results."""
    hidden = place / "many" / ".aehub"
    hidden.mkdir(parents=True)
    values = {name: 1234.5678 for name in (
        "model bytes audio_bytes frames width height fps seconds kbps bits_per_pixel ratio psnr "
        "ms_ssim elapsed path").split()}
    with (hidden / "manifest.jsonl").open("wb") as file:
        for number in range(count):
            name = f"folder{number % 100}/{number:06}"
            entry = Entry(f"../films/{name}.mp4", 9_999_999, time.time_ns(), "0" * 32,
                          f"{name}.aev", RESULT_BYTES, "0" * 64, values)
            file.write(json.dumps(asdict(entry)).encode() + b"\n")
    size = (hidden / "manifest.jsonl").stat().st_size
    began = time.process_time()
    Manifest.read(place / "many")
    seconds = time.process_time() - began
    tracemalloc.start()
    manifest = Manifest.read(place / "many")
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert manifest.find("../films/folder1/000001.mp4", "0" * 32)
    return {"bytes": size / count, "seconds": seconds, "memory": memory}


def planning_seconds(place: Path, count: int) -> float:
    """Seconds to plan many files in a hundred folders."""
    films = place / "library"
    for folder in range(100):
        (films / f"{folder:02}").mkdir(parents=True)
    for number in range(count):
        (films / f"{number % 100:02}" / f"{number:06}.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    began = time.monotonic()
    plan = plan_files(Job("compress", {}, ".aev", MEDIA), [str(films)], place / "planned")
    assert len(plan) == count
    return time.monotonic() - began


@dataclass(frozen=True)
class Cluster:
    """What a simulation assumes, in seconds.

    Attributes:
        task: that a worker computes on a file.
        submit: of the program for a file, before that; one at a time.
        commit: of the program to note a result.
        further: to note each further one that was done at the same time.
        ask: of the program for each worker that it waits for, whenever it looks; all that happened
            until then is taken at once.
        storage: for the input of a file, one after the other: the bandwidth that workers share.
    """

    task: float
    submit: float
    commit: float
    further: float
    ask: float
    storage: float


def speed_up(cluster: Cluster, workers: int, per_worker: int = 20) -> tuple[float, float, float]:
    """(speed-up over one worker, share of time that the program is busy, that the storage is).

    A discrete-event simulation: workers take files from the program, fetch them one after the other
    and compute for 0.5 to 1.5 times the mean; the program takes all that is done whenever it looks.
    """
    chance, n_files = random.Random(0), workers * per_worker
    # (time at which it is done, its worker)
    computing: list[tuple[float, int]] = []
    now = storage_free = busy_storage = busy = computed = 0.0
    given = 0

    def give(worker: int) -> None:
        nonlocal now, busy, given, storage_free, busy_storage, computed
        now, busy, given = now + cluster.submit, busy + cluster.submit, given + 1
        storage_free = max(storage_free, now) + cluster.storage
        busy_storage += cluster.storage
        task = cluster.task * chance.uniform(0.5, 1.5)
        computed += task
        heapq.heappush(computing, (storage_free + task, worker))

    for worker in range(workers):
        give(worker)
    while computing:
        now = max(now, computing[0][0]) + cluster.ask * len(computing)
        busy += cluster.ask * len(computing)
        done = []
        while computing and computing[0][0] <= now:
            done.append(heapq.heappop(computing)[1])
        noting = cluster.commit + cluster.further * (len(done) - 1)
        now, busy = now + noting, busy + noting
        for worker in done:
            if given < n_files:
                give(worker)
    alone = computed + n_files * (cluster.submit + cluster.commit + cluster.ask + cluster.storage)
    return alone / now, busy / now, busy_storage / now


def simulate(task: float, costs: dict[str, Any], commit: float, group: float, input_bytes: float,
             rate: float) -> None:
    """Print speed-ups of many workers for files that take `task` seconds of a core, and of the
    program `commit` seconds alone and `group` seconds as one of a group."""
    cluster = Cluster(task, costs["ray"]["cpu"], commit, (GROUP * group - commit) / (GROUP - 1),
                      costs["ray"]["asked"] / 1000, input_bytes / rate)
    print(f"files of {task:.1f} s of a core, {input_bytes / 1e6:.1f} MB each, storage of "
          f"{rate / 1e9:g} GB/s, {1e3 * commit:.1f} ms to write one down, {1e3 * group:.1f} ms to "
          f"write down each of {GROUP}")
    print("  workers   speed-up   of workers   driver busy   storage busy")
    for workers in WORKERS:
        gain, driver, storage = speed_up(cluster, workers)
        print(f"  {workers:7}   {gain:8.1f}   {100 * gain / workers:8.0f} %   {100 * driver:9.0f} %"
              f"   {100 * storage:10.0f} %")


def print_core(core: dict[str, Any]) -> None:
    for row in core["frames"]:
        print(f"  {row['size']:>9}  effort {row['effort']}{', measured' if row['measured'] else ''}"
              f"\t{1 / row['seconds']:6.1f} frames/s a core ({1 / row['wall']:.1f} by the clock)"
              f"\t{row['bytes']:6.0f} bytes/frame\t{row['memory'] / 1e6:5.0f} MB")
    print("  a worker is ready after", ", ".join(f"{seconds:.1f} s ({name})" for name, seconds
                                                  in core["start"].items()))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--ray", default="local")
    parser.add_argument("--seconds", type=float, default=10, help="of the clips simulated")
    parser.add_argument("--input-kbps", type=float, default=4000, help="of the clips simulated")
    parser.add_argument("--storage", type=float, default=1e9, help="bytes a second, shared")
    return parser.parse_args()


def task_costs(place: Path, clip: Path, count: int, address: str) -> dict[str, float]:
    """Seconds of a task that does next to nothing, as `ray_costs`; without Ray those of a local
    process, and nothing for asking."""
    tiny = place / "tiny.aev"
    aehub.compress(clip, tiny, effort=0, trim="0f:1f", measure=False)
    with closing(LocalProcesses(1)) as executor:
        cpu, wall = per_task(executor, tiny, count)
    print(f"a task of a local process: {1e3 * cpu:.2f} ms of the program, {1e3 * wall:.2f} ms")
    try:
        if address == "no":
            raise InputError("it was left out.")
        costs = ray_costs(address, tiny, count)
    except InputError as error:
        print(f"without Ray: {error}")
        return {"cpu": cpu, "asked": 0.0}
    print("a task on Ray: {cpu:.2f} ms of the program, {wall:.2f} ms; asking 1,000 workers: "
          "{asked:.2f} ms; a MB through Ray: {megabyte:.2f} ms".format(
              **{name: 1e3 * value for name, value in costs.items()}))
    return costs


def print_manifest(place: Path, count: int) -> None:
    manifest = manifest_costs(place, count)
    print(f"a manifest of {count}: {manifest['bytes']:.0f} bytes a result, read in "
          f"{manifest['seconds']:.1f} s, {manifest['memory'] / 1e6:.0f} MB")
    print(f"a plan of {count} files: {planning_seconds(place, count):.1f} s")


def main() -> None:
    given = parsed()
    threads.set_budget(1)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        core = workers_of_one_core(place)
        print_core(core)
        costs: dict[str, Any] = {
            "ray": task_costs(place, place / "320x180.mkv", given.tasks, given.ray),
            "driver": driver_costs(place, given.tasks)}
        print("a file in the program: {file:.2f} ms ({file_cpu:.2f} of the processor); one of a "
              "group: {group:.2f} ms ({group_cpu:.2f}); one that is done: {done:.2f} ms "
              "({done_cpu:.2f})".format(
                  **{name: 1e3 * value for name, value in costs["driver"].items()}))
        print_manifest(place, given.files)
    for row in core["frames"]:
        if row["size"] == "640x360" and not row["measured"]:
            for kind in ("", "_cpu"):  # This disk, and one that syncs at once.
                commit, group = (costs["driver"][name + kind] for name in ("file", "group"))
                simulate(row["seconds"] * 25 * given.seconds, costs, commit, group,
                         given.input_kbps * 125 * given.seconds, given.storage)


if __name__ == "__main__":
    main()
