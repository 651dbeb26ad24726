"""The compiled part. Every `str` argument also accepts `bytes`, which are taken as UTF-8."""

from asyncio import Future
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, Literal, overload

import numpy.typing as npt
from typing_extensions import TypeAlias

__version__: str

_Text: TypeAlias = str | bytes

class TritonModelException(Exception): ...

TritonInferenceException = TritonModelException

class _ErrorCode:
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...

class TritonError:
    UNKNOWN: ClassVar[_ErrorCode]
    INTERNAL: ClassVar[_ErrorCode]
    NOT_FOUND: ClassVar[_ErrorCode]
    INVALID_ARG: ClassVar[_ErrorCode]
    UNAVAILABLE: ClassVar[_ErrorCode]
    UNSUPPORTED: ClassVar[_ErrorCode]
    ALREADY_EXISTS: ClassVar[_ErrorCode]
    CANCELLED: ClassVar[_ErrorCode]
    def __init__(self, message: _Text, code: _ErrorCode = ...) -> None: ...
    def message(self) -> str: ...
    def code(self) -> _ErrorCode: ...

class Logger:
    """Lines for the server's log, with the caller's file and line; levels that it does not log cost nothing.

    Without a server they go to the logger `triton_python_backend_utils` of the `logging` module, VERBOSE as
    DEBUG.
    """

    class LogLevel:
        INFO: ClassVar[Logger.LogLevel]
        WARNING: ClassVar[Logger.LogLevel]
        ERROR: ClassVar[Logger.LogLevel]
        VERBOSE: ClassVar[Logger.LogLevel]
        @property
        def name(self) -> str: ...
        @property
        def value(self) -> int: ...
        def __int__(self) -> int: ...
        def __index__(self) -> int: ...

    INFO: ClassVar[Logger.LogLevel]
    WARNING: ClassVar[Logger.LogLevel]
    ERROR: ClassVar[Logger.LogLevel]
    VERBOSE: ClassVar[Logger.LogLevel]
    @staticmethod
    def log(message: _Text, level: Logger.LogLevel = ...) -> None: ...
    @staticmethod
    def log_info(message: _Text) -> None: ...
    @staticmethod
    def log_warn(message: _Text) -> None: ...
    @staticmethod
    def log_error(message: _Text) -> None: ...
    @staticmethod
    def log_verbose(message: _Text) -> None: ...

class Tensor:
    """A named array: of a fixed-size type, or of `object` or `S<n>` for BYTES.

    The array is kept and not copied, unless it is not C-contiguous. What goes out is what it holds when its
    response or request is handed over, not what it held when the tensor was made. In a BYTES tensor, an
    element that is `bytes` (of any subclass, such as `np.bytes_`) or a `bytearray` goes out as it is, any
    other as its `str()` in UTF-8; elements that come in are `bytes`.

    Tensors speak DLPack both ways without a copy, as in `torch.from_dlpack(tensor)` and
    `Tensor.from_dlpack("OUT", torch_tensor)`. A capsule points to the memory of `as_numpy()`.
    """

    def __init__(self, name: _Text, numpy_array: npt.NDArray[Any], /) -> None: ...
    def name(self) -> str: ...
    def shape(self) -> list[int]: ...
    def is_cpu(self) -> bool: ...
    def triton_dtype(self) -> int: ...
    def as_numpy(self) -> npt.NDArray[Any]: ...
    def to_dlpack(self) -> Any:
        """A fresh capsule, to be consumed once. It keeps this tensor; of a read-only array it has a copy."""

    def __dlpack__(
        self, stream: Any = None, *, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    @staticmethod
    def from_dlpack(name: _Text, producer: Any, /) -> Tensor:
        """A tensor of the producer's memory, which is kept until the tensor and all its arrays are gone.

        `producer` is a DLPack capsule, or has `__dlpack__` and `__dlpack_device__`. Its elements must lie in
        CPU memory, in C order without gaps.
        """

class InferenceRequest:
    def __init__(
        self,
        request_id: _Text = "",
        correlation_id: int | _Text = 0,
        inputs: list[Tensor] = ...,
        requested_output_names: Sequence[_Text] = ...,
        model_name: _Text = ...,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory = ...,
        trace: InferenceTrace = ...,
        parameters: dict[str, bool | int | str] | None = None,
        priority: int = 0,
    ) -> None:
        """A request to another model.

        Args:
            request_id: shows in the other model's request, and in traces.
            correlation_id: of the sequence that the request belongs to; 0 or "" for none.
            inputs: of the other model; which are sent as they are when the call is made.
            requested_output_names: the outputs to get; none for all.
            model_name: the other model.
            model_version: -1 lets the server choose.
            flags: TRITONSERVER_REQUEST_FLAG_SEQUENCE_START and _END.
            timeout: microseconds in the other model's queue; 0 for none.
            preferred_memory: where the outputs should lie; they are always in CPU memory here.
            trace: `request.trace()` of a request of the batch: the call becomes a part of its trace.
            parameters: for the other model.
            priority: in the other model's queue, 1 is the highest; 0 for its default.

        Raises:
            TritonModelException: an empty input or output name, or parameters of another type.
            TypeError: None where that is not allowed.
        """
    def inputs(self) -> list[Tensor]: ...
    def request_id(self) -> str: ...
    def correlation_id(self) -> int | str: ...
    def flags(self) -> int: ...
    def set_flags(self, flags: int) -> None: ...
    def timeout(self) -> int: ...
    def parameters(self) -> str: ...
    def requested_output_names(self) -> set[str]: ...
    def trace(self) -> InferenceTrace: ...
    def is_cancelled(self) -> bool:
        """Whether the client has given the request up. False for a request that a model made.

        The first question waits for the server, some ten microseconds; later ones read a word of memory,
        which follows the client within ten milliseconds.
        """
    def get_response_sender(self) -> InferenceResponseSender:
        """What answers this request instead of what `execute` returns; the same object each time."""
    def set_release_flags(self, flags: int) -> None:
        """What the server does with the request when `execute` has returned.

        TRITONSERVER_REQUEST_RELEASE_RESCHEDULE has it given to the model once more, as the next one of its
        sequence (`sequence_batching.iterative_sequence`); then nothing may be returned for it.
        """
    @overload
    def exec(self, decoupled: Literal[False] = False) -> InferenceResponse:
        """Run this request on another model of the server, and wait for its response.

        From `execute` on, until `finalize`; from any thread, and from a forked child of the model. The input
        tensors go as they are at the call. What goes wrong, here or in the other model, is a response with
        an error, which keeps the other model's code.

        Raises:
            TritonModelException: called before `initialize` has ended, in `finalize`, or without a server.
        """
    @overload
    def exec(self, decoupled: Literal[True]) -> ResponseIterator: ...
    @overload
    def async_exec(self, decoupled: Literal[False] = False) -> Future[InferenceResponse]:
        """As `exec`, from a coroutine: await what this returns. No thread waits meanwhile.

        With `decoupled` it is there with the first response. Cancelling the future cancels the call.

        Raises:
            RuntimeError: no asyncio loop runs on this thread.
        """
    @overload
    def async_exec(self, decoupled: Literal[True]) -> Future[ResponseIterator]: ...

class InferenceTrace:
    """Which trace a request belongs to; see `InferenceRequest.trace`."""

    def get_context(self) -> str | None:
        """The OpenTelemetry context as JSON; None when the server traces otherwise, or not this request."""

class InferenceResponseSender:
    """Answers one request, from any thread, while `execute` runs and after it has returned.

    A request whose sender and own object are dropped before the final flag was sent ends with an error.
    """

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        """Hand over a response, the final flag (TRITONSERVER_RESPONSE_COMPLETE_FINAL), or both.

        The tensors go as they are at the call, which returns without waiting for the client; it waits only
        for room in shared memory.

        Raises:
            TritonModelException: after the final flag, a second response of a model that is not decoupled,
                or flags that do not exist.
        """
    def is_cancelled(self) -> bool:
        """As that of the request."""

class ResponseIterator:
    """The responses of one call; once it has ended, `iter` starts again from the first."""

    def __iter__(self) -> ResponseIterator: ...
    def __next__(self) -> InferenceResponse: ...
    def cancel(self) -> None:
        """Ask the other model to stop. Does nothing after the last response."""

class _Bell:
    def wait(self) -> bool: ...
    def key(self) -> int: ...

class _Call:
    def send(self) -> None: ...
    def cancel(self) -> None: ...
    def result(self, decoupled: bool) -> InferenceResponse | ResponseIterator | None: ...

def _prepare_call(
    request: InferenceRequest, decoupled: bool
) -> tuple[_Bell, _Call, None] | tuple[None, None, InferenceResponse]: ...
def _failed_call(request: InferenceRequest, why: str, /) -> InferenceResponse: ...

class InferenceResponse:
    def __init__(
        self,
        output_tensors: list[Tensor] = ...,
        error: TritonError | None = None,
        parameters: dict[str, bool | int | str] | None = None,
    ) -> None: ...
    def output_tensors(self) -> list[Tensor]: ...
    def has_error(self) -> bool: ...
    def error(self) -> TritonError | None: ...
    def parameters(self) -> str: ...

class MemoryType:
    TRITONSERVER_MEMORY_GPU: ClassVar[MemoryType]
    TRITONSERVER_MEMORY_CPU: ClassVar[MemoryType]
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...

TRITONSERVER_MEMORY_GPU: MemoryType
TRITONSERVER_MEMORY_CPU: MemoryType

class PreferredMemory:
    """Where a model would like the outputs of another model that it calls."""

    def __init__(self, preferred_memory_type: MemoryType, preferred_device_id: int = 0) -> None: ...

class SharedMemory:
    """The memory for what this process sends; the one instance is `shared_memory`."""

    def free_memory(self) -> int:
        """The bytes that are left of it.

        Raises:
            TritonModelException: without a server, or in a forked child of a model.
        """

shared_memory: SharedMemory

class MetricKind:
    COUNTER: ClassVar[MetricKind]
    GAUGE: ClassVar[MetricKind]
    HISTOGRAM: ClassVar[MetricKind]
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...

COUNTER: MetricKind
GAUGE: MetricKind
HISTOGRAM: MetricKind

class MetricFamily:
    """A name on the server's metrics page, with a description and metrics of one kind.

    Models and instances that use the same name and kind share the family; the first description stays. On
    any thread, from `initialize` to `finalize`. When this object is deleted its metrics are, too.

    Raises:
        TritonModelException: the server refuses the name, or there is no server.
    """

    COUNTER: ClassVar[MetricKind]
    GAUGE: ClassVar[MetricKind]
    HISTOGRAM: ClassVar[MetricKind]
    def __init__(self, name: _Text, description: _Text, kind: MetricKind) -> None: ...
    def Metric(
        self, labels: Mapping[_Text, _Text] | None = None, buckets: list[float] | None = None
    ) -> Metric:
        """A line of the family, or several for a histogram; those of the same labels are one.

        `buckets` are the upper bounds of a histogram's, in rising order; nothing else has them.
        """

class Metric:
    """One line of the metrics page, made by `MetricFamily.Metric`, for as long as an object of it lives.

    Updates are on their way to the server when they return, and on the page before the responses of the
    batch go out.

    Raises:
        TritonModelException: its kind cannot do that, or the family has been deleted.
    """

    def increment(self, value: float, /) -> None:
        """Add to a counter, which takes nothing negative, or a gauge."""

    def set(self, value: float, /) -> None:
        """Set a gauge."""

    def observe(self, value: float, /) -> None:
        """Count a value in a histogram."""

    def value(self) -> float:
        """The value of a counter or gauge, with what other instances have added; asks the server."""

def load_model(model_name: _Text, config: _Text = "", files: Mapping[_Text, bytes] | None = None) -> None:
    """Load a model of the server's repository, and wait until it is ready to serve.

    `config` is a configuration as JSON, in place of its config.pbtxt. `files` are its files, such as
    `{"file:1/model.py": content}`, in place of its folder, and need a `config`. From `initialize` on until
    `finalize` begins, on any thread. The server has to run with --model-control-mode=explicit.

    Raises:
        TritonModelException: the server refuses, or the model cannot be loaded; the message says why.
    """

def unload_model(model_name: _Text, unload_dependents: bool = False) -> None:
    """Unload a model; does not wait for its end. Otherwise as `load_model`."""

def is_model_ready(model_name: _Text, model_version: _Text = "") -> bool:
    """Say whether a model is ready to serve; without a version: whether any of its versions is.

    When and where as `load_model`; also without explicit control.
    """

def get_model_dir() -> str:
    """The folder of this model's version, in which `model.py` lies."""

def encode_bytes(array: npt.NDArray[Any], /) -> bytes:
    """The encoding of an `object` or `S<n>` array as a BYTES tensor."""

def decode_bytes(encoded: Any, /) -> npt.NDArray[Any]:
    """The elements of an encoded BYTES tensor, any buffer, as a flat array of `bytes`."""

class Attachment:
    """One instance's connection to the server: made by `connect`, used by the thread that made it."""

    def serve(self, loader: ModuleType) -> None:
        """Load the model and answer requests until the server says stop; `loader` is `_model_loader`."""

    def fail(self, text: str) -> None:
        """Refuse to load, with `text` as the load error; nothing may be called on this object afterwards."""

def connect(fd: int, owned: bool = True) -> Attachment:
    """Take over the socket `fd` and say hello; needs no numpy.

    `owned` says that the server started this process, which then ends with the server.
    """
