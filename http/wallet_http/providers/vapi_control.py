"""Vapi's live call control: `say` and `end-call`, posted to the call's own address.

Source: Vapi's documentation, Live Call Control; its server answers any 2xx.
"""

from typing import Final

import aiohttp

from wallet_engine.errors import CallControlFailed, WalletError
from wallet_http.options import VapiOptions

from .control_urls import ControlUrls

TIMEOUT: Final = aiohttp.ClientTimeout(total=3.0)
"""An ending is tried again; waiting longer for one answer would only delay that."""


class VapiControl:
    """Implements `ports.CallControl` at Vapi.  Sends one request a command, follows no redirect."""

    def __init__(
        self, *, session: aiohttp.ClientSession, urls: ControlUrls, options: VapiOptions
    ) -> None:
        self._session = session
        self._urls = urls
        self._options = options

    async def say_goodbye(self, org_id: str, call_id: str, reason: str) -> None:
        """See `ports.CallControl.say_goodbye`."""
        del reason  # one sentence for all: the caller is a customer's customer
        await self._post(org_id, call_id, _say(self._options.spoken_ending, then_end=True))

    async def hang_up(self, org_id: str, call_id: str) -> None:
        """See `ports.CallControl.hang_up`."""
        await self._post(org_id, call_id, {"type": "end-call"})

    async def warn(self, org_id: str, call_id: str, seconds: int) -> None:
        """See `ports.CallControl.warn`."""
        del seconds
        await self._post(org_id, call_id, _say(self._options.spoken_warning, then_end=False))

    async def _post(self, org_id: str, call_id: str, command: dict[str, object]) -> None:
        try:
            url = await self._urls.find(org_id, call_id)
        except WalletError as error:
            raise CallControlFailed("the database cannot be asked for its address") from error
        if url is None:
            raise CallControlFailed("Vapi has not told where it can be spoken to")
        try:
            async with self._session.post(
                url, json=command, timeout=TIMEOUT, allow_redirects=False
            ) as response:
                if response.status >= 300:  # noqa: PLR2004  # anything but a success
                    raise CallControlFailed(f"Vapi answered {response.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            # Neither the address nor the error's text, which holds it, may reach a log.
            raise CallControlFailed(type(error).__name__) from None


def _say(sentence: str, *, then_end: bool) -> dict[str, object]:
    return {
        "type": "say",
        "content": sentence,
        "endCallAfterSpoken": then_end,
        "interruptionsEnabled": False,
        "interruptAssistantEnabled": True,
    }
