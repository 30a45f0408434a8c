"""One typed tree of settings: environment (`FACEPAY_KAFKA__BOOTSTRAP`), then a TOML file, then these defaults.

Secrets come from files or the environment, never from the command line: keys live in the keyring folder, and a
password inside an address is masked by `masked`. Units are last in names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pipeline.errors import SettingsError


class Section(BaseModel):
    """A branch of the tree: unknown names are refused, so that a typing error is not silently a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(Section):
    """How to reach Kafka."""

    bootstrap: str = Field("127.0.0.1:9092", description="host:port of one or more brokers")
    request_timeout_ms: int = Field(30_000, ge=1_000)


class Redis(Section):
    """How to reach Redis, and how long a call may take."""

    url: str = Field("redis://127.0.0.1:6379/0", description="address; a password in it is masked when shown")
    timeout_ms: int = Field(50, ge=1, description="budget of one call on the payment path")


class Keys(Section):
    """Where the keys are."""

    directory: Path = Field(Path("keys"), description="the file keyring")
    frame_epoch: int = Field(1, ge=1, description="epoch of the frame key root in force")


class Ledger(Section):
    """The database that decides about money."""

    url: str = Field("sqlite:///ledger.db", description="SQLAlchemy address")
    payer_limit_minor: int = Field(500_000, ge=0, description="how far a payer's account may go below zero")


class Vision(Section):
    """Models, thresholds and limits of the embedding agent."""

    models: Path = Field(Path("models"), description="folder of ONNX models, found by hash")
    gpu: Literal["off", "preferred", "required"] = "off"
    threads: int = Field(1, ge=1, description="ONNX Runtime intra-op threads per model")
    pad: Literal["required", "report_only", "off"] = Field(
        "off", description="presentation-attack detection; all but `required` leave liveness unproven: see risk"
    )
    eyes: Literal["judge", "report_only"] = Field(
        "judge", description="closed eyes never vote; `report_only` leaves open whether eyes are open: see risk"
    )
    drawn_models: Literal["refused", "allowed"] = Field(
        "refused", description="models trained on drawn people: for demos and tests only"
    )
    match_threshold: float | None = Field(
        None, ge=-1, le=1, description="least cosine of a frame that votes; unset: the embedder's of the manifest"
    )
    strong_threshold: float | None = Field(
        None, ge=-1, le=1, description="one frame at or above it decides alone; unset: the manifest's"
    )
    margin: float | None = Field(
        None, ge=0, le=2, description="least distance to the best other payer; unset: the manifest's"
    )
    max_fpir: float = Field(
        1e-2,
        gt=0,
        le=1,
        description="how often a stranger's transaction may find somebody, all its frames and attempts counted; it "
        "sets how the match threshold rises with the gallery and how large a gallery may be without a claim",
    )
    votes: int = Field(2, ge=1, description="consistent frames that decide, at full weight three quarters of them")
    patience: int = Field(6, ge=1, description="judged frames of one face without a decision before it has failed")
    refusal_patience: int = Field(
        30, ge=1, description="frames of one face refused for quality or closed eyes before it has failed"
    )
    max_attempts: int = Field(5, ge=1, description="failed faces of one intent before only the PIN is left")
    repeated_frames: Literal["refuse", "report_only", "off"] = Field(
        "refuse", description="pictures that a camera has shown before: no vote, only counted, not looked for"
    )
    max_repeated_frames: int = Field(3, ge=1, description="repeated pictures of one intent before the face has failed")
    live_floor: float = Field(
        0.5, ge=0, le=1, description="least liveness of one frame that votes; the manifest's threshold is for all"
    )
    min_face_px: int = Field(48, ge=1, description="least width of an eligible face")
    min_eye_distance_px: float = Field(20, ge=0, description="least resolution of a frame that votes")
    min_sharpness: float = Field(10, ge=0, description="least variance of the Laplacian of the aligned face")
    min_brightness: float = Field(0.12, ge=0, le=1, description="least mean luma of the aligned face")
    max_brightness: float = Field(0.92, ge=0, le=1, description="greatest mean luma of the aligned face")
    max_clipped: float = Field(0.5, ge=0, le=1, description="greatest share of pixels of the face without detail")
    max_yaw: float = Field(
        0.45, ge=0, description="nose off the eyes' middle, in eye distances; 0.5 is about 45 degrees"
    )
    max_pitch: float = Field(0.35, ge=0, description="nose off its place between eyes and mouth")
    max_roll_deg: float = Field(35, ge=0, description="slope of the line of the eyes")
    precision: Literal["auto", "fp32", "fp16", "int8"] = Field(
        "auto", description="auto is fp16 on a GPU and fp32 on a CPU; int8 is for a CPU"
    )
    max_batch: int = Field(16, ge=1, description="frames that the agent takes at once")
    batch: int | None = Field(
        None, ge=1, description="items in one run of a model; unset: measured on this machine at the start"
    )
    max_pixels: int = Field(8_000_000, ge=1)
    max_frame_age_ms: int = Field(10_000, ge=1)
    max_clock_skew_ms: int = Field(2_000, ge=0)


class Gallery(Section):
    """Who is enrolled: templates, the exact index, data keys."""

    data_keys_url: str | None = Field(
        None, description="SQLAlchemy address of the payers' data keys; unset: SQLite beside the keyring"
    )
    snapshot: Path | None = Field(None, description="folder of the sealed local snapshot; unset: none is kept")
    snapshot_interval_s: int = Field(3_600, ge=10, description="between two writings of a changed gallery")
    operator: str = Field(
        "operator", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$", description="who enrols and erases, for the journal"
    )
    lookalike_distance: float = Field(
        0.1, ge=0, le=2, description="cosine below the match threshold within which two payers are lookalikes"
    )
    kernel: Literal["auto", "int8", "float32", "gpu"] = Field(
        "auto", description="how the exact index computes; auto is gpu where vision.gpu got one, else int8"
    )


class Hot(Section):
    """The hot tier: payers seen lately in this region, in Redis and mirrored in each embedding agent."""

    mode: Literal["on", "off"] = "on"
    region: str = Field("local", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="agents of one region share it")
    max_payers: int = Field(20_000, ge=1)
    max_age_s: int = Field(14 * 86_400, ge=1, description="payers not seen for longer leave it")
    verify_share: float = Field(0.01, ge=0, le=1, description="hot hits that are also searched exactly")
    timeout_ms: int = Field(1_000, ge=1, description="budget of one Redis call; none is on the payment path")


class Risk(Section):
    """The fraud agent's rules."""

    unproven_liveness: Literal["step_up", "accept"] = Field(
        "step_up", description="for a recognition whose liveness is no proof"
    )
    unknown_eyes: Literal["step_up", "accept"] = Field("step_up", description="where nothing can tell if eyes are open")
    step_up_minor: int = Field(20_000, ge=0, description="amounts above it need a PIN")
    decline_minor: int = Field(500_000, ge=0, description="amounts above it are declined")
    night_step_up_minor: int = Field(5_000, ge=0, description="the step-up limit at night")
    night_hours_utc: tuple[int, int] = Field((15, 21), description="night from, to (hours UTC; 23 to 5 at UTC+8)")
    velocity_count: int = Field(5, ge=1, description="recognitions of one payer within the window before a step-up")
    velocity_window_s: int = Field(60, ge=1)
    velocity_decline_count: int = Field(12, ge=1)
    thin_margin: float = Field(0.12, ge=0, description="a margin below it needs a PIN")
    history_days: int = Field(35, ge=1)


class Gateway(Section):
    """The HTTP edge."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    intent_ttl_ms: int = Field(20_000, ge=1_000, le=120_000, description="default life of an intent")
    history_s: int = Field(900, ge=60, description="how far back the gateway reads topics when it starts")
    max_pin_failures: int = Field(5, ge=1)
    pin_lock_s: int = Field(900, ge=1)
    max_unproven_claims: int = Field(
        12, ge=1, description="claims of one terminal that may stay without a recognition, within claim_window_s"
    )
    claim_window_s: int = Field(600, ge=1, description="no longer than history_s, or a restart forgets some")
    command_timeout_ms: int = Field(3_000, ge=100, description="how long a command may wait for Kafka's confirmation")
    lease_ms: int = Field(1_000, ge=100, description="how long a camera may send before it must ask again")
    rate_per_s: int = Field(100, ge=1, description="requests of one terminal, on average; bursts of twice that")
    waits_per_terminal: int = Field(16, ge=1, description="long polls and event streams of one terminal at once")
    heartbeat_s: float = Field(10.0, gt=0, description="between two signs of life of a silent event stream")


class Metrics(Section):
    """Where a process serves /metrics, /livez and /readyz."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535, description="0 chooses a free one and logs it")


class Log(Section):
    """How a process logs."""

    style: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Agent(Section):
    """How an agent meets Kafka."""

    instance: str = Field(
        "0", pattern=r"^[A-Za-z0-9._-]{1,32}$", description="stable name of this instance (StatefulSet ordinal)"
    )
    restore_window_s: int = Field(30, ge=0, description="how far back memory is rebuilt at assignment")
    session_timeout_ms: int = Field(10_000, ge=1_000)
    transaction_timeout_ms: int = Field(10_000, ge=1_000)
    watchdog_s: int = Field(40, ge=5)


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(env_prefix="FACEPAY_", env_nested_delimiter="__", extra="forbid", frozen=True)

    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    keys: Keys = Keys()
    ledger: Ledger = Ledger()
    vision: Vision = Vision()
    gallery: Gallery = Gallery()
    hot: Hot = Hot()
    risk: Risk = Risk()
    gateway: Gateway = Gateway()
    metrics: Metrics = Metrics()
    log: Log = Log()
    agent: Agent = Agent()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file named by `load_settings`."""
        toml = cls.model_config.get("toml_file")
        file = (TomlConfigSettingsSource(settings_cls),) if toml else ()
        return (init_settings, env_settings, *file)


def load_settings(config: Path | None = None) -> Settings:
    """The settings in force; raises `SettingsError` naming each wrong setting and never its value."""
    kind: type[Settings] = Settings
    if config is not None:
        if not config.is_file():
            raise SettingsError(
                f"reading the settings file {config}: no such file; pass an existing TOML file to --config"
            )
        kind = type(
            "FileSettings",
            (Settings,),
            {"model_config": SettingsConfigDict(**{**Settings.model_config, "toml_file": config})},
        )
    try:
        return kind()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"reading the settings: {problems}") from None
    except ValueError as error:
        raise SettingsError(f"reading the settings file {config}: {error}") from None


def masked(settings: Settings) -> dict[str, object]:
    """The tree as JSON-able values with passwords in addresses masked."""

    def mask(value: object) -> object:
        if isinstance(value, dict):
            return {k: mask(v) for k, v in value.items()}
        if isinstance(value, str):
            return re.sub(r"(://[^:/@]*:)[^@]*@", r"\1***@", value)
        return value

    return {name: mask(value) for name, value in settings.model_dump(mode="json").items()}
