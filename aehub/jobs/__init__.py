"""Many files: planned, run by an executor, resumed by a manifest.

    inputs -> plan      which file becomes which, under which name      (plan.py)
    plan -> tasks       picklable records, run by an `Executor`         (task.py, work.py)
    executor            worker processes of this machine                (processes.py)
    tasks -> results    in flight as many as the executor has slots     (run.py)
    results -> folder   renamed when complete, noted in a manifest      (manifest.py)

One long clip is divided into the tasks of its groups (parts.py). Jobs of a server's visitors run in
turn (scheduler.py), in workers that stay for the next one (warm_workers.py).
"""
