"""The settings as frozen models. `docs/settings.md` is made from the descriptions here."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ralf_hub.config.patterns import nearest
from ralf_hub.config.types import (
    BaseUrl,
    EventPattern,
    Float,
    HubPath,
    Int,
    IpNetwork,
    Name,
    Origin,
    Section,
    TimeZone,
    Url,
    is_loopback,
)
from ralf_hub.config.webhook_models import WebhookSettings
from ralf_hub.connectors.base import ConnectorSettings
from ralf_hub.model import ALL_SCOPES, SCOPES

MIB: Final = 1024 * 1024

_SHA256: Final = re.compile(r"^[0-9a-f]{64}$")


# --- api ------------------------------------------------------------------------------------------


def _key_table(value: Any) -> Any:
    return {"key": value} if isinstance(value, (str, SecretStr)) else value


class ApiKeySettings(Section):
    """A key given in the settings: a plain string, or a table with `name`, `key` or `key_sha256`, `scopes`."""

    name: Name | None = Field(default=None, description="Shown in lists and logs; left out: `settings-N`.")
    key: SecretStr | None = Field(default=None, description="The key itself.")
    key_sha256: str | None = Field(
        default=None, description="In its place, the key's SHA-256 as 64 hexadecimal digits."
    )
    scopes: tuple[str, ...] = Field(default=(ALL_SCOPES,), description="What the key may do; `*` is all.")

    @field_validator("key_sha256")
    @classmethod
    def _hash(cls, value: str | None) -> str | None:
        if value is not None and _SHA256.fullmatch(value.lower()) is None:
            raise ValueError("must be 64 hexadecimal digits")
        return value.lower() if value else None

    @field_validator("scopes")
    @classmethod
    def _known_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for scope in value:
            if scope not in {*SCOPES, ALL_SCOPES}:
                near = nearest(scope, SCOPES)
                hint = f"did you mean {near}?" if near else f"there are {', '.join(SCOPES)} and *"
                raise ValueError(f"names a scope that does not exist; {hint}")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> "ApiKeySettings":
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("needs either key or key_sha256")
        return self


class RateLimitSettings(Section):
    """How often one key may call."""

    enabled: bool = Field(default=True, description="Whether calls are limited.")
    requests_per_minute: Int = Field(default=60, ge=1, le=10_000_000, description="Calls a minute per key.")
    failed_auth_per_minute: Int = Field(
        default=300, ge=1, le=1_000_000, description="Calls with a wrong or no key, a minute per address."
    )


class CorsSettings(Section):
    """Which web pages may call the API from a browser."""

    enabled: bool = Field(default=True, description="Whether CORS headers are sent at all.")
    origins: tuple[Origin, ...] = Field(default=(), description="The pages' origins; none by default.")


class OAuthSettings(Section):
    """The OpenID provider whose access tokens count when `auth_type` is `oauth`."""

    issuer: Url = Field(description="The provider's issuer URL, exactly as in its tokens.")
    audience: str = Field(min_length=1, description="The audience the tokens must be made for.")
    jwks_url: Url | None = Field(
        default=None, description="Where its keys are; left out: found by the issuer's discovery document."
    )


class TlsSettings(Section):
    """The certificate of the hub's own listener."""

    cert: HubPath = Field(description="PEM file with the certificate chain.")
    key: HubPath = Field(description="PEM file with its private key.")


class ApiSettings(Section):
    """The HTTP interface."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: Int = Field(default=8080, ge=1, le=65_535, description="TCP port to listen on.")
    debug: bool = Field(default=False, description="Log every request and its timing.")
    auth_type: Literal["api_key", "oauth", "none"] = Field(
        default="api_key", description="How callers prove who they are; `none` only on loopback."
    )
    api_keys: tuple[Annotated[ApiKeySettings, BeforeValidator(_key_table)], ...] = Field(
        default=(), description="Keys besides those of `ralf-hub keys create`: strings or tables."
    )
    rate_limit: RateLimitSettings = Field(default_factory=RateLimitSettings, description="Limits per key.")
    cors: CorsSettings = Field(default_factory=CorsSettings, description="Calls from web pages.")
    oauth: OAuthSettings | None = Field(default=None, description="The OpenID provider.")
    tls: TlsSettings | None = Field(default=None, description="Serve HTTPS with this certificate.")
    body_bytes_max: Int = Field(
        default=MIB, ge=1024, le=1024 * MIB, description="Largest request body, bytes."
    )
    webhook_bytes_max: Int = Field(
        default=25 * MIB, ge=1024, le=1024 * MIB, description="Largest webhook body, bytes."
    )
    public_url: BaseUrl | None = Field(
        default=None, description="How people reach the hub, for links in notices; left out: host and port."
    )

    @field_validator("api_keys")
    @classmethod
    def _named(cls, value: tuple[ApiKeySettings, ...]) -> tuple[ApiKeySettings, ...]:
        keys = tuple(
            key if key.name else key.model_copy(update={"name": f"settings-{number}"})
            for number, key in enumerate(value, 1)
        )
        if len({key.name for key in keys}) < len(keys):
            raise ValueError("has two keys of one name")
        return keys

    @field_validator("auth_type")
    @classmethod
    def _open_only_here(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and not is_loopback(info.data.get("host", "127.0.0.1")):
            raise ValueError("must not be none unless host is this machine alone (127.0.0.1)")
        return value

    @field_validator("oauth")
    @classmethod
    def _oauth_described(cls, value: OAuthSettings | None, info: ValidationInfo) -> OAuthSettings | None:
        if value is None and info.data.get("auth_type") == "oauth":
            raise ValueError("is needed for auth_type oauth: a table with issuer and audience")
        return value


# --- the rest -------------------------------------------------------------------------------------


class DatabaseSettings(Section):
    """The one SQLite file."""

    path: HubPath = Field(
        default=Path("var/ralf-hub.db"), description="The database file; its folder is made."
    )
    free_mib_min: Int = Field(
        default=256,
        ge=1,
        le=1_048_576,
        description="People are warned below so much free space, MiB; on a small disk, below a tenth of it.",
    )


def _yaml_off(value: Any) -> Any:
    return "off" if value is False else value  # YAML reads a bare off as false


class WorkspaceSettings(Section):
    """Where RALF keeps its files."""

    path: HubPath | None = Field(
        default=None, description="RALF's project folder; left out: none is followed."
    )
    timezone: TimeZone = Field(default="UTC", description="Of times in RALF's files that name none.")
    write_back: Annotated[Literal["tasks", "off", "full"], BeforeValidator(_yaml_off)] = Field(
        default="tasks", description="What the hub writes into RALF's files: `off`, `tasks`, or `full`."
    )
    events_file: HubPath | None = Field(default=None, description="The events file, where it is not found.")
    event_types: Mapping[str, EventPattern] = Field(
        default_factory=dict, description="RALF's event types to the hub's, beyond the known ones."
    )
    keep_prompts: bool = Field(default=False, description="Keep the text of prompts found in events.")
    poll_s: Float = Field(
        default=2.0, ge=0.05, le=3_600, description="How often to look where watching fails, seconds."
    )
    sample: bool = Field(
        default=False, description="Copy the sample workspace to `path` when nothing is there."
    )


class DeliverySettings(Section):
    """How hard the hub tries to deliver."""

    concurrency: Int = Field(default=32, ge=1, le=1_000, description="Calls at once per connector.")
    timeout_s: Float = Field(default=30, ge=0.1, le=600, description="Longest call, seconds.")
    max_attempts: Int = Field(default=12, ge=1, le=1_000, description="Tries before a delivery is dead.")
    backoff_first_s: Float = Field(
        default=5, ge=0.01, le=86_400, description="Wait after the first failure, seconds."
    )
    backoff_max_s: Float = Field(
        default=3_600, ge=0.01, le=604_800, description="Longest wait between tries, seconds."
    )
    breaker_failures: Int = Field(
        default=5, ge=1, le=10_000, description="Failures in a row that open the breaker."
    )
    breaker_probe_first_s: Float = Field(
        default=10, ge=0.01, le=86_400, description="Wait before an open breaker's first probe, seconds."
    )
    breaker_probe_max_s: Float = Field(
        default=600, ge=0.01, le=604_800, description="Longest wait between probes, seconds."
    )

    @field_validator("backoff_max_s", "breaker_probe_max_s")
    @classmethod
    def _not_below_first(cls, value: float, info: ValidationInfo) -> float:
        first = str(info.field_name).replace("_max_s", "_first_s")
        if value < info.data.get(first, 0):
            raise ValueError(f"must not be less than {first}")
        return value


_DAYS_MAX: Final = 36_500


class RetentionSettings(Section):
    """How long finished things are kept, in days. Tasks, features and what is still due are never pruned."""

    events_days: Int = Field(default=90, ge=1, le=_DAYS_MAX, description="Events.")
    deliveries_days: Int = Field(
        default=30, ge=1, le=_DAYS_MAX, description="Finished deliveries, with attempts."
    )
    webhook_receipts_days: Int = Field(default=30, ge=1, le=_DAYS_MAX, description="Receipts of webhooks.")
    api_usage_days: Int = Field(default=400, ge=1, le=_DAYS_MAX, description="API usage.")


class SecuritySettings(Section):
    """Whom the hub may call and whom it believes."""

    allowed_networks: tuple[IpNetwork, ...] = Field(
        default=(), description="Private address ranges that outgoing calls may reach; none by default."
    )
    trusted_proxies: tuple[IpNetwork, ...] = Field(
        default=(), description="Proxies whose X-Forwarded-For is believed."
    )


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class LoggingSettings(Section):
    """What the hub says while it runs."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="The least that is logged."
    )
    format: Literal["console", "json"] = Field(
        default="console", description="Lines for people or for programs."
    )


class TracingSettings(Section):
    """Traces from a request over its events to what is sent for them. Taken when the hub starts; needs the extra `otel`."""

    enabled: bool = Field(default=False, description="Whether traces are kept.")
    endpoint: Url = Field(
        default="http://127.0.0.1:4318/v1/traces", description="The OTLP receiver they go to."
    )
    service_name: str = Field(
        default="ralf-hub", min_length=1, max_length=100, description="What the hub is called in them."
    )


class Settings(Section):
    """Everything an operator can set."""

    api: ApiSettings = Field(default_factory=ApiSettings, description="The HTTP interface.")
    connectors: Mapping[str, SerializeAsAny[ConnectorSettings]] = Field(
        default_factory=dict, description="The services that are told of events, by name."
    )
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings, description="Webhooks in and out.")
    database: DatabaseSettings = Field(default_factory=DatabaseSettings, description="The SQLite file.")
    workspace: WorkspaceSettings = Field(default_factory=WorkspaceSettings, description="RALF's files.")
    delivery: DeliverySettings = Field(default_factory=DeliverySettings, description="How hard to try.")
    retention: RetentionSettings = Field(default_factory=RetentionSettings, description="How long to keep.")
    security: SecuritySettings = Field(
        default_factory=SecuritySettings, description="Whom to call and believe."
    )
    logging: LoggingSettings = Field(default_factory=LoggingSettings, description="What is logged.")
    tracing: TracingSettings = Field(default_factory=TracingSettings, description="Traces, by OpenTelemetry.")
