"""Joins concurrent callers into batches. Knows nothing of faces.

A free worker takes whatever waits: an idle service adds no latency, a busy one fills its batches.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from visage.errors import InferenceFailed, Overloaded

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(slots=True)
class _Waiting(Generic[In, Out]):
    item: In
    kind: Hashable
    future: Future[Out] = field(default_factory=Future)


class Batcher(Generic[In, Out]):
    """Runs `run` on batches of what concurrent callers submit.

    Items of equal `kind` may share a batch of at most `max_batch`. Callers that left (cancelled futures) are
    dropped; when a joined batch fails, its items are run again one by one, so that each failure reaches its own
    caller only. More than `max_waiting` items raise Overloaded at the door. `observe` is told the size of every batch,
    `observe_waiting` how many items wait, whenever that has changed.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Sequence[Out]],
        *,
        name: str,
        max_batch: int = 1,
        max_waiting: int = 4096,
        workers: int = 1,
        kind: Callable[[In], Hashable] = lambda _: None,
        observe: Callable[[int], None] = lambda _: None,
        observe_waiting: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._name = name
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._kind = kind
        self._observe = observe
        self._observe_waiting = observe_waiting
        self._queue: deque[_Waiting[In, Out]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._most_running = workers
        self._running = 0
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Items not yet taken by a worker."""
        return len(self._queue)

    def submit(self, items: Sequence[In], *, apart: bool = False) -> list[Future[Out]]:
        """A future an item, in order; all are taken or none. `apart`: they share a batch with no others.

        Raises Overloaded.
        """
        own = object() if apart else None
        entries: list[_Waiting[In, Out]] = [_Waiting(item, (own, self._kind(item))) for item in items]
        with self._changed:
            if self._closed:
                raise Overloaded(f"{self._name} is shutting down")
            if len(self._queue) + len(entries) > self._max_waiting:
                raise Overloaded(f"{self._name} has {len(self._queue)} items waiting")
            self._queue.extend(entries)
            self._observe_waiting(len(self._queue))
            self._changed.notify(len(entries))
        return [entry.future for entry in entries]

    def call(self, items: Sequence[In]) -> list[Future[Out]]:
        """`submit`, but where nobody waits and a worker is free the caller's own thread does its work.

        That spares an idle service two changes of thread. The futures may be done when it returns.
        """
        with self._changed:
            free = not self._closed and not self._queue and self._running < self._most_running
            if not free or len(items) > self._max_batch or len({self._kind(item) for item in items}) != 1:
                return self.submit(items)
            self._running += 1
        batch: list[_Waiting[In, Out]] = [_Waiting(item, None) for item in items]
        for entry in batch:
            entry.future.set_running_or_notify_cancel()
        self._run_batch(batch)
        return [entry.future for entry in batch]

    def close(self) -> None:
        """Stop taking items, finish those that wait, end the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)  # those that callers run themselves

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while batch := self._take():
            self._run_batch(batch)

    def _run_batch(self, batch: list[_Waiting[In, Out]]) -> None:
        """Answer a batch for which a place among those running was taken, and give the place back."""
        try:
            self._observe(len(batch))
            self._answer(batch)
        finally:
            with self._changed:
                self._running -= 1
                if self._queue or self._closed:  # a thread that wakes for nothing takes the interpreter from others
                    self._changed.notify_all()

    def _take(self) -> list[_Waiting[In, Out]]:
        """The next batch: the oldest item and those of its kind, in order; empty when closed and done."""
        with self._changed:
            while True:
                while not (self._queue and self._running < self._most_running) and not (
                    self._closed and not self._queue
                ):
                    self._changed.wait()
                if not self._queue:
                    return []
                batch = self._pick()
                if batch:
                    self._running += 1
                    return batch

    def _pick(self) -> list[_Waiting[In, Out]]:
        batch: list[_Waiting[In, Out]] = []
        passed: list[_Waiting[In, Out]] = []
        while self._queue and len(batch) < self._max_batch:
            entry = self._queue.popleft()
            if batch and entry.kind != batch[0].kind:
                passed.append(entry)
            elif entry.future.set_running_or_notify_cancel():
                batch.append(entry)
        self._queue.extendleft(reversed(passed))
        self._observe_waiting(len(self._queue))
        return batch

    def _answer(self, batch: list[_Waiting[In, Out]]) -> None:
        try:
            answers = self._run([entry.item for entry in batch])
            if len(answers) != len(batch):
                raise InferenceFailed(f"{self._name} gave {len(answers)} answers for {len(batch)} items")
        except Exception as exc:  # whatever it is, it belongs to these callers; the worker must live on
            if len(batch) == 1 or isinstance(exc, Overloaded):  # no room for all of them is none for each
                for entry in batch:
                    entry.future.set_exception(exc)
                return
            for entry in batch:
                self._answer([entry])
            return
        for entry, answer in zip(batch, answers, strict=True):
            entry.future.set_result(answer)
