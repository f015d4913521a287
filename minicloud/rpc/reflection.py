"""Server reflection, grpc.reflection.v1 and v1alpha: a description of all services, for tools as grpcurl.

Always holds: each request on the stream gets one answer, in order; an unknown name is answered, too, and
leaves the stream open (test_reflection_what_is_not_there_is_an_answer_and_the_stream_goes_on). A file comes
first and with all it imports, as tools that ask only once expect
(test_reflection_symbol_gives_its_file_first_and_what_it_imports). The messages are generated from definitions
of ours (DESIGN 19).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.const import Cardinality, Handler, Status

from minicloud.rpc.servable import Servable, service_names
from minicloud.rpc.server_stream import ServerStream
from minicloud.wire.gen.grpc.reflection.v1 import (
    ErrorResponse,
    ExtensionNumberResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

# The two versions differ in the package alone, so the messages of one serve both.
_PATHS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


class Reflection:
    """Both versions of `ServerReflection`, about `services` and itself, as `pool` describes them."""

    def __init__(self, services: Iterable[Servable], pool: DescriptorPool) -> None:
        self._pool = pool
        self._services = ListServiceResponse(
            [ServiceResponse(name) for name in service_names([*services, self])]
        )

    def __mapping__(self) -> Mapping[str, Handler]:
        handler = Handler(
            self._answer_each, Cardinality.STREAM_STREAM, ServerReflectionRequest, ServerReflectionResponse
        )
        return dict.fromkeys(_PATHS, handler)

    async def _answer_each(
        self, stream: ServerStream[ServerReflectionRequest, ServerReflectionResponse]
    ) -> None:
        async for request in stream:
            try:
                answer = self._answer(request)
            except KeyError:
                answer = _error(Status.NOT_FOUND, "not found")
            answer.valid_host = request.host
            answer.original_request = request
            await stream.send_message(answer)

    def _answer(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        """The answer to one request. Raises KeyError for an unknown name."""
        if request.file_by_filename is not None:
            return _file_answer(self._pool.FindFileByName(request.file_by_filename))
        if request.file_containing_symbol is not None:
            return _file_answer(self._file_containing(request.file_containing_symbol))
        if (extension := request.file_containing_extension) is not None:
            extended = self._pool.FindMessageTypeByName(extension.containing_type)
            found = self._pool.FindExtensionByNumber(extended, extension.extension_number)
            return _file_answer(self._file_containing(found.full_name))
        if request.all_extension_numbers_of_type is not None:
            extended = self._pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
            numbers = sorted(found.number for found in self._pool.FindAllExtensions(extended))
            return ServerReflectionResponse(
                all_extension_numbers_response=ExtensionNumberResponse(extended.full_name, numbers)
            )
        if request.list_services is not None:
            return ServerReflectionResponse(list_services_response=self._services)
        return _error(Status.INVALID_ARGUMENT, "the request asks for nothing this version knows")

    def _file_containing(self, symbol: str) -> FileDescriptor:
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            # The pool does not look at the names of methods there.
            return self._pool.FindMethodByName(symbol).containing_service.file


def _error(status: Status, message: str) -> ServerReflectionResponse:
    return ServerReflectionResponse(error_response=ErrorResponse(status.value, message))


def _file_answer(file: FileDescriptor) -> ServerReflectionResponse:
    files = {file.name: file}
    waiting = [file]
    while waiting:
        for imported in waiting.pop().dependencies:
            if imported.name not in files:
                files[imported.name] = imported
                waiting.append(imported)
    return ServerReflectionResponse(
        file_descriptor_response=FileDescriptorResponse([each.serialized_pb for each in files.values()])
    )
