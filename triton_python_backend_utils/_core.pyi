"""The compiled part. Every `str` argument also accepts `bytes`, which are taken as UTF-8."""

from types import ModuleType
from typing import Any, ClassVar

import numpy.typing as npt
from typing_extensions import TypeAlias

__version__: str

_Text: TypeAlias = str | bytes

class TritonModelException(Exception): ...

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
    def __init__(self, name: _Text, numpy_array: npt.NDArray[Any], /) -> None: ...
    def name(self) -> str: ...
    def shape(self) -> list[int]: ...
    def is_cpu(self) -> bool: ...
    def triton_dtype(self) -> int: ...
    def as_numpy(self) -> npt.NDArray[Any]: ...

class InferenceRequest:
    def __init__(
        self,
        request_id: _Text = "",
        correlation_id: int | _Text = 0,
        inputs: list[Tensor] = ...,
        requested_output_names: list[str] = ...,
        model_name: _Text = ...,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: None = None,
        trace: None = None,
        parameters: dict[str, bool | int | str] | None = None,
    ) -> None: ...
    def inputs(self) -> list[Tensor]: ...
    def request_id(self) -> str: ...
    def correlation_id(self) -> int | str: ...
    def flags(self) -> int: ...
    def set_flags(self, flags: int) -> None: ...
    def timeout(self) -> int: ...
    def parameters(self) -> str: ...
    def requested_output_names(self) -> set[str]: ...

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
