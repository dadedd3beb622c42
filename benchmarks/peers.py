"""One face for several libraries that run calls in processes: call(fn, *args) and map(fn, items).

Two workers, fork where there is a choice.
Each is used the way its own documents recommend for a pool that is kept.
"""

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterable
from typing import Any

import workloads

WORKERS = 2


class Executors:
    """What has submit() and map()."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("fork")
        self.pool: concurrent.futures.Executor
        if name == "loky":
            import loky

            self.pool = loky.get_reusable_executor(max_workers=WORKERS, timeout=600)
        else:
            self.pool = workloads.implementation(name).ProcessPoolExecutor(WORKERS, mp_context=context)

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.pool.submit(fn, *args).result()

    def map(self, fn: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        return list(self.pool.map(fn, items))

    def processes(self) -> list[int]:
        return list(self.pool._processes)  # type: ignore[attr-defined]

    def close(self) -> None:
        self.pool.shutdown()


class Pools(Executors):
    """multiprocessing.Pool and fastpool's."""

    def __init__(self, name: str) -> None:
        kind = workloads.pool_class(workloads.implementation(name))
        self.process_pool = kind(WORKERS, context=multiprocessing.get_context("fork"))

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.process_pool.apply(fn, args)

    def map(self, fn: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        return self.process_pool.map(fn, items)

    def processes(self) -> list[int]:
        return [process.pid for process in self.process_pool._pool]

    def close(self) -> None:
        self.process_pool.close()
        self.process_pool.join()


class Joblib:
    def __init__(self) -> None:
        import joblib

        self.delayed = joblib.delayed
        self.parallel = joblib.Parallel(n_jobs=WORKERS)
        self.parallel.__enter__()

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        # of a single call it would make none in a process, so two: the second does nothing
        return self.parallel([self.delayed(fn)(*args), self.delayed(int)()])[0]

    def map(self, fn: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        return self.parallel(self.delayed(fn)(item) for item in items)

    def close(self) -> None:
        self.parallel.__exit__(None, None, None)


class Mpire:
    def __init__(self) -> None:
        import mpire

        self.pool = mpire.WorkerPool(n_jobs=WORKERS, start_method="fork", keep_alive=True)

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply(fn, args)

    def map(self, fn: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        return self.pool.map(fn, [(item,) for item in items], chunk_size=1, concatenate_numpy_output=False)

    def close(self) -> None:
        self.pool.stop_and_join()


class Ray:
    def __init__(self) -> None:
        import logging

        import ray

        self.ray = ray
        ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        self.remotes: dict[Callable[..., Any], Any] = {}

    def remote(self, fn: Callable[..., Any]) -> Any:
        if fn not in self.remotes:
            self.remotes[fn] = self.ray.remote(fn)
        return self.remotes[fn]

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.ray.get(self.remote(fn).remote(*args))

    def map(self, fn: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        return self.ray.get([self.remote(fn).remote(item) for item in items])

    def close(self) -> None:
        self.ray.shutdown()


PEERS: dict[str, Callable[[], Any]] = {
    "std": lambda: Executors("std"),
    "fastpool": lambda: Executors("fastpool"),
    "loky": lambda: Executors("loky"),
    "joblib": Joblib,
    "mpire": Mpire,
    "ray": Ray,
}
POOLS: dict[str, Callable[[], Any]] = {**PEERS, "std": lambda: Pools("std"), "fastpool": lambda: Pools("fastpool")}
