"""Server reflection, grpc.reflection.v1 and v1alpha: what this server serves, for tools such as grpcurl.

Always holds: each request on the stream gets one answer, in order; what cannot be found is an answer too and
leaves the stream open. A file comes first and with all it imports, as tools that ask only once expect.
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

# The two differ in nothing but the package, so one version's messages do for both.
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
        """Raises KeyError for what is not there."""
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
            # A method's name, which that does not look at.
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
