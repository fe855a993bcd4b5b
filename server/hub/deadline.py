"""A call's request has to come in time, whatever the call; until it has, the call takes no thread and no place."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from server.hub.front import Front


class Deadline(grpc.aio.ServerInterceptor):
    """Reads the one request of each call, and ends calls that don't send it.

    Args:
        front: Is told who sent a request, and who didn't in time.
    """

    def __init__(self, front: Front) -> None:
        """Waits for nothing yet."""
        self._front, self._seconds = front, front.limits.seconds

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Give a call's handler the time it has."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        coding = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(handler.unary_stream), *coding)
        return grpc.stream_unary_rpc_method_handler(self._single(handler.unary_unary), *coding)

    def _single(self, answer: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def answered(requests: AsyncIterator[Any], context: Any) -> Any:
            return await answer(await self._request(requests, context), context)

        return answered

    def _streaming(self, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Awaitable[None]]:
        async def answered(requests: AsyncIterator[Any], context: Any) -> None:
            found = answer(await self._request(requests, context), context)
            if inspect.isawaitable(found):
                await found
                return
            async for each in found:
                await context.write(each)

        return answered

    async def _request(self, requests: AsyncIterator[Any], context: Any) -> Any:
        try:
            request = await asyncio.wait_for(anext(requests), self._seconds)
        except TimeoutError:
            peer = self._front.address(context.peer()).rpartition(":")[0]
            self._front.turned_away(peer, f"a call sent no request within {self._seconds:g} s")
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no request within {self._seconds:g} s")
        except StopAsyncIteration:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no request")
        self._front.asked(context.peer())
        return request
