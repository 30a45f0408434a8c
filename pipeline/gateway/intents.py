"""What the gateway does for a terminal: open, confirm, cancel, refund, look, wait.

One rule for every command: it is sent, Kafka confirms it, and the request is answered when the book has read it back.
So an answer is what the topic says, also when two gateways got the same request: the first command in the topic counts.
Ids are derived from what the request is about, never drawn, so a request repeated at any gateway, at once or after a
crash, is the same command, and settlement applies it once. A repeat that finds the command in the book sends nothing;
repeats at the same moment share one flight.

A command is refused before it is sent when Kafka is down or the book is behind (503); one that is not confirmed in
time is answered 504 `unknown_outcome`, and the terminal repeats it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.errors import InvalidMessage, RedisUnavailable
from pipeline.gateway import answers
from pipeline.gateway.answers import ApiError
from pipeline.gateway.bodies import CancelBody, ConfirmBody, OpenBody, RefundBody
from pipeline.gateway.book import Key, Record
from pipeline.gateway.claims import ClaimDesk
from pipeline.gateway.commands import CommandSender, NotConfirmed
from pipeline.gateway.feed import Feed
from pipeline.gateway.ids import new_trace
from pipeline.gateway.pins import PinDesk
from pipeline.gateway.waiting import Waiters
from pipeline.keys.confirmations import confirmation_mac
from pipeline.keys.terminals import Terminal
from pipeline.ports import Clock
from schemas.events import Cancel, Command, Confirm, NoteHint, OpenIntent, PaymentTerms, Refund, Verdict
from schemas.ids import derived_id


class Intents:
    """The commands of terminals; every method is called on the event loop."""

    def __init__(
        self,
        *,
        feed: Feed,
        sender: CommandSender,
        waiters: Waiters,
        pins: PinDesk,
        claims: ClaimDesk,
        clock: Clock,
        confirmation_key: bytes,
        default_ttl_ms: int,
        key_epoch: int,
        timeout_s: float,
    ) -> None:
        self._feed = feed
        self._sender = sender
        self._waiters = waiters
        self._pins = pins
        self._claims = claims
        self._clock = clock
        self._confirmation_key = confirmation_key
        self._default_ttl_ms = default_ttl_ms
        self._key_epoch = key_epoch
        self._timeout_s = timeout_s
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._lane_seqs: dict[str, int] = {}
        self._noting: dict[Key, asyncio.Task[None]] = {}

    def record(self, terminal: Terminal, intent_id: str) -> Record:
        """The intent; raises `ApiError` 404, or 503 when it might be one that was not read yet."""
        self._require_caught_up()
        record = self._feed.find(terminal.terminal_id, intent_id)
        if record is None:
            raise answers.not_found()
        return record

    async def open(self, terminal: Terminal, idempotency_key: str, body: OpenBody) -> tuple[OpenIntent, bool]:
        """Opens an intent; the second value says whether this request did it. Raises `ApiError`."""
        if body.currency != terminal.currency:
            raise ApiError(422, "wrong_currency", f"this terminal collects {terminal.currency}")
        self._require_caught_up()
        intent_id = derived_id(terminal.terminal_id, "intent", idempotency_key)
        key = terminal.terminal_id, intent_id
        created = False

        def known() -> OpenIntent | None:
            record = self._feed.find(*key)
            return record.opening if record is not None else None

        if known() is None:
            claim = self._claims.sealed(body.claim, *key)
            created = await self._once(
                intent_id, lambda: self._deliver(self._opening(terminal, intent_id, body, claim))
            )
        opening = known()
        if opening is None:
            raise answers.unknown_outcome()
        if not self._is_same(opening, body):
            raise ApiError(
                409, "idempotency_conflict", "this Idempotency-Key was used with another body; use a new one"
            )
        return opening, created

    async def confirm(self, terminal: Terminal, intent_id: str, body: ConfirmBody) -> Record:
        """Checks the PIN and confirms a step-up. Raises `ApiError`."""
        record = self.record(terminal, intent_id)
        verdict, opening = record.verdict, record.opening
        if verdict is not None and verdict.event_id == body.verdict_id and record.confirmed:
            return record
        if (
            verdict is None
            or opening is None
            or record.state != "awaiting_confirmation"
            or verdict.event_id != body.verdict_id
            or "pin" not in verdict.methods
            or record.cancel is not None
        ):
            raise ApiError(409, "nothing_to_confirm", "no such verdict of this intent waits for a PIN")
        if self._clock() >= opening.terms.expires_at_us:
            raise ApiError(409, "expired", "the intent's time is over; open a new one")
        self._require_kafka()
        event_id = derived_id(intent_id, "confirm", verdict.event_id)
        await self._check_pin(verdict.payer_id, body.pin.get_secret_value())
        await self._once(event_id, lambda: self._deliver(self._confirmation(event_id, opening, verdict)))
        return self.record(terminal, intent_id)

    async def cancel(self, terminal: Terminal, intent_id: str, body: CancelBody) -> Record:
        """Asks for an end without payment; the outcome says whether it came in time. Raises `ApiError`."""
        record = self.record(terminal, intent_id)
        if record.cancel is not None:
            return record
        opening = record.opening
        if opening is None or record.final:
            raise ApiError(409, "already_final", "the intent has its outcome", state=record.state)
        self._require_kafka()
        event_id = derived_id(intent_id, "cancel")

        def command() -> Cancel:
            return Cancel(
                event_id=event_id,
                terminal_id=terminal.terminal_id,
                intent_id=intent_id,
                trace=opening.trace,
                reason=body.reason,
                cancelled_at_us=self._clock(),
            )

        await self._once(event_id, lambda: self._deliver(command()))
        return self.record(terminal, intent_id)

    async def refund(self, terminal: Terminal, intent_id: str, idempotency_key: str, body: RefundBody) -> str:
        """Asks for money back and returns the refund's id; settlement answers with an event. Raises `ApiError`."""
        record = self.record(terminal, intent_id)
        outcome = record.outcome
        if outcome is None or outcome.outcome != "settled":
            raise ApiError(409, "not_settled", "only a settled intent can be refunded", state=record.state)
        refund_id = derived_id(intent_id, "refund_id", idempotency_key)
        event_id = derived_id(intent_id, "refund_command", refund_id)

        def command() -> Refund:
            return Refund(
                event_id=event_id,
                terminal_id=terminal.terminal_id,
                intent_id=intent_id,
                trace=outcome.trace,
                refund_id=refund_id,
                amount_minor=body.amount_minor,
                currency=outcome.currency,
                requested_at_us=self._clock(),
            )

        if refund_id not in record.refunds:
            await self._once(event_id, lambda: self._deliver(command()))
        kept = self.record(terminal, intent_id).refunds.get(refund_id)
        if kept is None:
            raise answers.unknown_outcome()
        if kept.amount_minor != body.amount_minor:
            raise ApiError(
                409, "idempotency_conflict", "this Idempotency-Key was used with another body; use a new one"
            )
        return refund_id

    async def wait(self, terminal: Terminal, intent_id: str, after_version: int | None, wait_ms: int) -> Record:
        """The intent as soon as its version is not `after_version`, or after `wait_ms`. Without a version the wait is
        for any change of an intent that has no outcome yet. Raises `ApiError`."""
        record = self.record(terminal, intent_id)
        if after_version is None:
            after_version = -1 if record.final else record.version
        key = terminal.terminal_id, intent_id

        def changed() -> Record | None:
            now = self._feed.find(*key)
            return now if now is None or now.version != after_version else None

        return await self._waiters.until(key, changed, wait_ms / 1_000) or self.record(terminal, intent_id)

    async def has_news(self, terminal: Terminal, intent_id: str, after_version: int, timeout_s: float) -> bool:
        """Whether the intent gets beyond that version (or is forgotten) in time."""
        key = terminal.terminal_id, intent_id

        def beyond() -> bool | None:
            record = self._feed.find(*key)
            return True if record is None or record.version > after_version else None

        return await self._waiters.until(key, beyond, timeout_s) is not None

    async def lease(self, terminal_id: str, wait_ms: int) -> OpenIntent | None:
        """The intent that a terminal's cameras should send frames for, waiting for one up to `wait_ms`."""
        self._require_caught_up()

        def wanted() -> OpenIntent | None:
            return self._feed.look(lambda book: book.wants_frames(terminal_id, self._clock()))

        return await self._waiters.until(terminal_id, wanted, wait_ms / 1_000)

    def note_hint(self, key: Key) -> None:
        """Tells settlement the newest hint of an intent: one command at a time, and the newest when that is done."""
        if key not in self._noting:
            task = asyncio.get_running_loop().create_task(self._note_hints(key))
            self._noting[key] = task
            task.add_done_callback(lambda _: self._noting.pop(key, None))

    async def _note_hints(self, key: Key) -> None:
        while (record := self._feed.find(*key)) is not None and record.opening is not None:
            hint = record.unnoted_hint
            if hint is None or self._clock() >= record.opening.terms.expires_at_us or not self._sender.reachable:
                return
            command = NoteHint(
                event_id=derived_id(key[1], "note_hint", hint.event_id),
                terminal_id=key[0],
                intent_id=key[1],
                trace=record.opening.trace,
                code=hint.code,
            )
            try:
                await self._deliver(command)
            except ApiError:
                return  # the next hint, or the next gateway, says it again

    def _opening(self, terminal: Terminal, intent_id: str, body: OpenBody, claim: str | None) -> OpenIntent:
        now_us = self._clock()
        last = self._feed.look(lambda book: book.last_lane_seq(terminal.terminal_id))
        lane_seq = max(last + 1, self._lane_seqs.get(terminal.terminal_id, 0) + 1, now_us)
        self._lane_seqs[terminal.terminal_id] = lane_seq
        return OpenIntent(
            event_id=derived_id(intent_id, "open"),
            terminal_id=terminal.terminal_id,
            intent_id=intent_id,
            trace=new_trace(now_us),
            lane_seq=lane_seq,
            merchant_order_id=body.merchant_order_id,
            terms=PaymentTerms(
                intent_id=intent_id,
                terminal_id=terminal.terminal_id,
                merchant_id=terminal.merchant_id,
                payee_id=terminal.payee_id,
                amount_minor=body.amount_minor,
                currency=body.currency,
                opened_at_us=now_us,
                expires_at_us=now_us + self._ttl_ms(body) * 1_000,
                key_epoch=self._key_epoch,
            ),
            claim=claim,
        )

    def _confirmation(self, event_id: str, opening: OpenIntent, verdict: Verdict) -> Confirm:
        terms = opening.terms
        return Confirm(
            event_id=event_id,
            terminal_id=opening.terminal_id,
            intent_id=opening.intent_id,
            trace=opening.trace,
            verdict_id=verdict.event_id,
            payer_id=verdict.payer_id,
            method="pin",
            mac=confirmation_mac(
                self._confirmation_key,
                intent_id=opening.intent_id,
                verdict_id=verdict.event_id,
                payer_id=verdict.payer_id,
                amount_minor=terms.amount_minor,
                currency=terms.currency,
                payee_id=terms.payee_id,
            ),
            confirmed_at_us=self._clock(),
        )

    async def _check_pin(self, payer_id: str, pin: str) -> None:
        """Returns when the PIN is right; raises `ApiError` otherwise."""
        try:
            checked = await self._pins.check(payer_id, pin)
        except (RedisUnavailable, InvalidMessage):
            raise ApiError(
                503, "pin_unavailable", "PINs cannot be checked at the moment; try again", retry_after_s=1
            ) from None
        match checked.result:
            case "right":
                return
            case "wrong":
                raise ApiError(403, "wrong_pin", "the PIN is wrong", attempts_left=checked.attempts_left)
            case "locked":
                raise ApiError(
                    423, "pin_locked", "too many wrong PINs; use another way to pay", retry_after_s=checked.locked_s
                )
            case "not_set":
                raise ApiError(409, "pin_not_set", "this payer has no PIN; use another way to pay")

    async def _once(self, flight: str, start: Callable[[], Awaitable[None]]) -> bool:
        """Runs `start` unless the same is under way, and waits for it; whether it was this call that started it. The
        flight goes on when the request that began it is gone."""
        task = self._flights.get(flight)
        started = task is None
        if task is None:
            self._require_kafka()
            task = asyncio.ensure_future(_run(start))
            self._flights[flight] = task
            task.add_done_callback(lambda done: self._land(flight, done))
        await asyncio.shield(task)
        return started

    def _land(self, flight: str, task: asyncio.Task[None]) -> None:
        self._flights.pop(flight, None)
        if not task.cancelled():
            task.exception()  # whoever still waits has it; when nobody does, it is no news

    async def _deliver(self, command: Command) -> None:
        """Sends a command and waits until the book has it, or one with the same id that came first; raises `ApiError`
        504."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            await self._sender.send(command)
        except NotConfirmed:
            raise answers.unknown_outcome() from None
        key = command.terminal_id, command.intent_id

        def read_back() -> bool | None:
            record = self._feed.find(*key)
            if record is None:
                return None
            return True if record.has(command.event_id) else None

        left_s = deadline - asyncio.get_running_loop().time()
        if await self._waiters.until(key, read_back, max(0.0, left_s)) is None:
            raise answers.unknown_outcome()

    def _is_same(self, opening: OpenIntent, body: OpenBody) -> bool:
        terms = opening.terms
        return (
            opening.merchant_order_id,
            terms.amount_minor,
            terms.currency,
            terms.expires_at_us - terms.opened_at_us,
        ) == (
            body.merchant_order_id,
            body.amount_minor,
            body.currency,
            self._ttl_ms(body) * 1_000,
        ) and self._claims.is_same(opening, body.claim)

    def _ttl_ms(self, body: OpenBody) -> int:
        return body.ttl_ms if body.ttl_ms is not None else self._default_ttl_ms

    def _require_caught_up(self) -> None:
        if not self._feed.caught_up:
            raise answers.not_ready()

    def _require_kafka(self) -> None:
        if not self._sender.reachable:
            raise answers.kafka_unavailable()


async def _run(start: Callable[[], Awaitable[None]]) -> None:
    await start()
