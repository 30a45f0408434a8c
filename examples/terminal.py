"""A terminal in 30 lines: opens a payment, shows what the payer should do, and hands over goods on the outcome alone.

FACEPAY_TOKEN=... python examples/terminal.py http://127.0.0.1:8080 TERMINAL_ID AMOUNT_MINOR CURRENCY
"""

import getpass
import os
import sys
import uuid

import httpx

url, terminal_id, amount_minor, currency = sys.argv[1:]
headers = {"X-Terminal-Id": terminal_id, "Authorization": f"Bearer {os.environ['FACEPAY_TOKEN']}"}
order_id = str(uuid.uuid4())
order = {"merchant_order_id": order_id, "amount_minor": int(amount_minor), "currency": currency}
with httpx.Client(base_url=url, headers=headers, timeout=40, transport=httpx.HTTPTransport(retries=3)) as gateway:
    # The key is the order's: whatever happens on the way, asking again opens no second payment.
    key = {"Idempotency-Key": order_id}
    while (answer := gateway.post("/v1/intents", json=order, headers=key)).status_code in {503, 504}:
        print("the gateway is busy, asking again")
    intent = answer.raise_for_status().json()
    path, hint = f"/v1/intents/{intent['intent_id']}", None
    while not intent.get("outcome"):
        query = {"wait_ms": 30_000, "after_version": intent["version"]}
        intent = gateway.get(path, params=query).raise_for_status().json()
        if intent["hint"] and intent["hint"] != hint:
            hint = intent["hint"]
            print("please:", hint["code"])
        if intent["state"] == "awaiting_confirmation":
            confirmation = {"verdict_id": intent["verdict"]["verdict_id"], "pin": getpass.getpass("PIN: ")}
            print("PIN:", gateway.post(f"{path}/confirm", json=confirmation).status_code)
    print(intent["outcome"]["outcome"], *intent["outcome"]["reasons"])
