"""Leases of a real gateway: which cameras get one, and that a camera gets nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.contract.gateway.conftest import Served, Till, World, error_of, now_us

OPEN_TO_CAMERAS = {"/v1/lease", "/metrics", "/livez", "/readyz"}


def test_every_camera_of_the_lane_is_lent_the_intent(till: Till, world: World, served: Served) -> None:
    """Cameras that wait all get the intent when it opens; one that waits at another lane gets nothing, and one that
    asks for a lane that is not its own is refused with a sentence that says what to do."""
    beside = world.terminal()
    cameras = [till.camera, world.camera(f"{till.terminal_id}-left", till.terminal_id)]
    elsewhere = world.camera(f"{beside}-left", beside)

    def ask(headers: dict[str, str], wait_ms: int = 0) -> httpx.Response:
        return httpx.get(f"{served.url}/v1/lease", params={"wait_ms": wait_ms}, headers=headers, timeout=60)

    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(ask, dict(camera), 30_000) for camera in cameras]
        in_vain = threads.submit(ask, elsewhere, 1_500)
        terms = till.opened()
        leases = [wait.result(30).json() for wait in waiting]
        assert in_vain.result(30).status_code == 204
    assert [lease["terms"]["intent_id"] for lease in leases] == [terms.intent_id] * 2
    for lease in leases:
        assert terms.opened_at_us < lease["camera_until_us"] <= min(terms.expires_at_us, now_us() + 1_000_000)
    refused = ask({**elsewhere, "X-Terminal-Id": till.terminal_id})
    assert error_of(refused) == (403, "another_lane")
    assert "facepay cameras provision" in refused.json()["error"]["message"]
    assert 'facepay_leases_total{result="another_lane"}' in httpx.get(f"{served.url}/metrics").text


def test_a_removed_camera_gets_no_lease_any_more(till: Till, world: World) -> None:
    """From the next question on, although its intent is open; its token is nobody's from then on."""
    till.opened()
    assert till.lease().status_code == 200
    world.devices.remove(f"{till.terminal_id}-camera")
    assert error_of(till.lease()) == (401, "unauthorised")
    renewed = world.camera(f"{till.terminal_id}-camera", till.terminal_id)
    assert error_of(till.lease()) == (401, "unauthorised"), "the token from before the removal"
    till.camera = renewed
    assert till.lease().status_code == 200


def test_a_terminal_is_no_camera(till: Till) -> None:
    """A terminal that asks with its own token is told to register a camera."""
    till.opened()
    answer = till.http.get("/v1/lease")
    assert error_of(answer) == (403, "not_a_camera")
    assert "facepay cameras add" in answer.json()["error"]["message"]


BODIES = {
    "/v1/intents": {"merchant_order_id": "order-1", "amount_minor": 1, "currency": "CNY"},
    "/v1/intents/{intent_id}/confirm": {"verdict_id": "0" * 36, "pin": "1234"},
    "/v1/intents/{intent_id}/cancel": {"reason": "spite"},
    "/v1/intents/{intent_id}/refunds": {"amount_minor": 1},
}


def test_a_camera_s_token_opens_nothing_but_its_lease(till: Till, served: Served) -> None:
    """On every other route, whatever it is called there, a camera is a stranger: it opens, confirms, cancels and
    refunds nothing and sees no intent."""
    terms = till.opened()
    routes = [
        (method.upper(), path)
        for path, methods in served.app.openapi()["paths"].items()
        for method in methods
        if path not in OPEN_TO_CAMERAS
    ]
    assert {path for method, path in routes if method == "POST"} == set(BODIES)
    assert len(routes) >= 7
    called = (
        dict(till.camera),
        {**till.camera, "X-Terminal-Id": till.camera["X-Camera-Id"]},
        {name: value for name, value in till.camera.items() if name != "X-Camera-Id"},
    )
    for method, path in routes:
        for headers in called:
            answer = httpx.request(
                method,
                served.url + path.replace("{intent_id}", terms.intent_id),
                headers={**headers, "Idempotency-Key": "k"},
                json=BODIES.get(path),
            )
            assert error_of(answer) == (401, "unauthorised"), (method, path)
    assert till.look(terms.intent_id)["version"] == 1
