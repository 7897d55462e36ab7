# ruff: noqa: PTH100, PTH120
# mypy: ignore-errors
"""Makes the clocks of this process run faster. First on PYTHONPATH of scripts that the emulator starts, found by Python itself.

OCTOSTEPS_CLOCK holds three numbers: the speed, the emulated time (seconds since 1970) at the start, the monotonic clock then.

Runs under CPython 3.8 to 3.14, before anything else: few imports, no annotations, nothing that costs milliseconds.

Scaled: time.time, monotonic, perf_counter (also _ns), sleep, localtime, gmtime, ctime, asctime, strftime (of now);
datetime.now, utcnow, today and date.today; waits with a timeout of threading.Condition, Event, Semaphore, Barrier, Timer,
Thread.join and queue.Queue; select.select and selectors (so asyncio and subprocess timeouts). Child processes inherit it all.
Not scaled: timeouts of sockets (the server's work takes real time), of bare locks, of queue.SimpleQueue, select.poll and epoll
used directly, signal timers, CPU clocks, file times, and children started with -I, -E or -S or without this environment.
"""

import os
import sys
import time

_here = os.path.dirname(os.path.abspath(__file__))
_speed, _epoch, _began = map(float, os.environ["OCTOSTEPS_CLOCK"].split())

_real_monotonic = time.monotonic
_real_sleep = time.sleep
_real_perf_counter = time.perf_counter
_first_count = _real_perf_counter()


def _monotonic():
    return _began + (_real_monotonic() - _began) * _speed


def _time():
    return _epoch + (_real_monotonic() - _began) * _speed


def _perf_counter():
    return _first_count + (_real_perf_counter() - _first_count) * _speed


def _sleep(seconds):
    _real_sleep(seconds / _speed if isinstance(seconds, (int, float)) else seconds)


def _shorter(timeout):
    """A timeout in real seconds; what is no number, or means "for ever" or "at once", stays as it is."""
    return timeout / _speed if isinstance(timeout, (int, float)) and timeout > 0 else timeout


class _Callable:
    """A plain callable that, unlike a function, does not become a method when it is a class's attribute."""

    def __init__(self, function, name):
        self._function = function
        self.__name__ = name

    def __call__(self, *args, **kwargs):
        return self._function(*args, **kwargs)


def _of_now(name, position):
    """The function `name` of the time module, with the emulated time where its moment is left out."""
    real = getattr(time, name)

    def function(*args):
        moment_given = len(args) > position and args[position] is not None
        if moment_given:
            return real(*args)
        now = _time()
        return real(*args[:position], now if position == 0 and name != "asctime" else time.localtime(now))

    return _Callable(function, name)


def _patch_time():
    for name, position in (("localtime", 0), ("gmtime", 0), ("ctime", 0), ("asctime", 0), ("strftime", 1)):
        setattr(time, name, _of_now(name, position))
    time.monotonic = _Callable(_monotonic, "monotonic")
    time.monotonic_ns = _Callable(lambda: int(_monotonic() * 1e9), "monotonic_ns")
    time.time = _Callable(_time, "time")
    time.time_ns = _Callable(lambda: int(_time() * 1e9), "time_ns")
    time.perf_counter = _Callable(_perf_counter, "perf_counter")
    time.perf_counter_ns = _Callable(lambda: int(_perf_counter() * 1e9), "perf_counter_ns")
    time.sleep = _Callable(_sleep, "sleep")


def _patch_datetime(module):
    real_date, real_datetime = module.date, module.datetime

    class DateType(type):
        def __instancecheck__(cls, value):
            return isinstance(value, real_date)

        def __subclasscheck__(cls, other):
            return issubclass(other, real_date)

    class DatetimeType(type):
        def __instancecheck__(cls, value):
            return isinstance(value, real_datetime)

        def __subclasscheck__(cls, other):
            return issubclass(other, real_datetime)

    class date(real_date, metaclass=DateType):
        @classmethod
        def today(cls):
            return cls.fromtimestamp(_time())

        def __repr__(self):
            return "datetime." + real_date.__repr__(self)

    class datetime(real_datetime, metaclass=DatetimeType):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(_time(), tz)

        @classmethod
        def utcnow(cls):
            return cls.fromtimestamp(_time(), module.timezone.utc).replace(tzinfo=None)

        @classmethod
        def today(cls):
            return cls.fromtimestamp(_time())

        def __repr__(self):
            return "datetime." + real_datetime.__repr__(self)

    for new in (date, datetime):
        new.__module__ = "datetime"
        new.__qualname__ = new.__name__
        setattr(module, new.__name__, new)


def _patch_threading(module):
    module._time = time.monotonic  # bound at import, perhaps before us
    _shorten_last(module.Condition, "wait")
    _shorten_last(module.Thread, "join")


def _patch_select(module):
    real = module.select

    def select(readable, writable, exceptional, timeout=None):
        return real(readable, writable, exceptional, _shorter(timeout))

    module.select = _Callable(select, "select")


def _patch_selectors(module):
    for name in ("PollSelector", "EpollSelector", "DevpollSelector", "KqueueSelector"):
        if hasattr(module, name):
            _shorten_last(getattr(module, name), "select")


def _shorten_last(owner, name):
    """Scale the only argument, `timeout`, of method `name`."""
    if name not in vars(owner):
        return  # inherited from a class that is scaled itself
    real = getattr(owner, name)

    def method(self, timeout=None):
        return real(self, _shorter(timeout))

    method.__name__ = method.__qualname__ = name
    setattr(owner, name, method)


_PATCHES = {
    "datetime": _patch_datetime,
    "threading": _patch_threading,
    "select": _patch_select,
    "selectors": _patch_selectors,
}


class _Loader:
    """A loader that patches the module it has loaded. Importing these modules only to patch them would cost too much."""

    def __init__(self, loader, patch):
        self._loader = loader
        self._patch = patch

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._patch(module)

    def __getattr__(self, name):
        return getattr(self._loader, name)


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        patch = _PATCHES.get(name)
        spec = None
        if patch is not None:
            spec = _find_spec(name, path)
            if spec is not None:
                spec.loader = _Loader(spec.loader, patch)
        return spec


def _find_spec(name, path):
    for finder in sys.meta_path:
        if finder is not _Finder and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, path)
            if spec is not None:
                return spec
    return None


def _run_the_next_sitecustomize():
    """Ours hides the one that would have been found: run it as Python would have, errors included."""
    from _frozen_importlib import module_from_spec

    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]
    spec = _find_spec("sitecustomize", sys.path)
    if spec is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_patch_time()
for _name, _patch in _PATCHES.items():
    if _name in sys.modules:
        _patch(sys.modules[_name])
sys.meta_path.insert(0, _Finder)
_run_the_next_sitecustomize()
