"""Accounts as they are configured, in the settings or in the store; no account is connected here.

A transport describes its accounts by one `AccountType`: the struct of their settings, how a credential is parsed, and
what identifies it. The rest is the same for every transport, and is done here:

1. `configure` reads the accounts of the settings, which are refused if one account is invalid. `reconfigure` does the
   same while the gateway runs: there an account that became invalid keeps its earlier configuration.
2. `from_record` reads an account that was added by command. The store keeps the credential in its normal form, and the
   options as JSON; both are validated as the settings are.
3. `merge` adds the accounts of the store to those of the settings. No two accounts may share a credential. The settings
   win, then the older account; for each account that is skipped, `merge` returns the reason.

Example: the settings have `first`, and the store has `second` with the same session. `merge` returns `first`, and that
`second` is skipped because `first` has its session.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from protocol.model import Capability
from transports.account import Account, AccountKind, Facts, reachable
from transports.accounts.registry import AccountId, AccountRecord
from transports.secret_files import read_secret

GUEST = "-guest"
"""End of the ids of guests; no configured account may have it."""

Count = Annotated[int, Meta(ge=1, le=100_000)]
CountOrNone = Annotated[int, Meta(ge=0, le=100_000)]
Weight = Annotated[float, Meta(gt=0, le=1000)]
Tag = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._@+:/-]{1,64}\Z",
        description="1 to 64 ASCII letters, digits, `.`, `_`, `@`, `+`, `:`, `/` and `-`",
    ),
]
Note = Annotated[str, Meta(max_length=500)]


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of an account that are the same for every transport."""

    id: AccountId
    """A unique name of your choice; logs show it. Names that end in `-guest` are reserved."""
    concurrency: Count = 5
    """Limit of concurrent requests, over all processes that share the store."""
    weight: Weight = 1.0
    """Share of the load relative to other accounts."""
    per_minute: CountOrNone = 0
    """Limit of requests per minute, over all processes that share the store; 0: no limit."""
    per_day: dict[Capability, Count] = {}
    """Limits of requests per day by capability, such as `{ video = 3 }`; others are not limited."""
    capabilities: tuple[Capability, ...] = tuple(Capability)
    """Capabilities that the account may serve."""
    tags: tuple[Tag, ...] = ()
    """Words to find the account by, such as `team-a`; `accounts list --tag` filters by them."""
    note: Note = ""
    """A note for operators."""

    def __repr__(self) -> str:
        """Hide the credential."""
        return f"{type(self).__name__}(id={self.id!r})"


SettingsT = TypeVar("SettingsT", bound=AccountSettings)


class ConfiguredAccount(msgspec.Struct, Generic[SettingsT], frozen=True, kw_only=True):
    """A valid account, ready to be connected."""

    settings: SettingsT
    credential: str
    """In its normal form: secret."""

    @property
    def id(self) -> str:
        """The account's id."""
        return self.settings.id

    def __repr__(self) -> str:
        """Hide the credential."""
        return f"ConfiguredAccount(id={self.settings.id!r})"


class DuplicateCredential(ValueError):
    """Two accounts have the same credential."""


class CredentialPart(msgspec.Struct, frozen=True, kw_only=True):
    """A value that `accounts add` takes from an option, an environment variable or a prompt."""

    option: str
    """Name of the option, without dashes."""
    variable: str
    """Name of the environment variable."""
    help: str
    prompt: str
    optional: bool = False


class AccountOption(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of this transport's accounts that `accounts add` offers as an option."""

    name: str
    """Name of the setting."""
    help: str


class AccountType(msgspec.Struct, Generic[SettingsT], frozen=True, kw_only=True):
    """Describes the accounts of a transport: their settings and their credential."""

    settings: type[SettingsT]
    field: str
    """The setting that holds the credential; the setting `<field>_file` names a file that holds it."""
    parse: Callable[[str], str]
    """Returns a credential in the normal form that the store keeps. Raises ValueError, which contains no secret."""
    check_new: Callable[[str, float, bool], None] = lambda _text, _now, _is_simulated: None
    """Raises ValueError, which contains no secret, for a credential that `parse` accepts, but that cannot be one of a
    new account: it has expired by the time in epoch seconds, or is a placeholder. Simulated accounts may have short
    ones."""
    recognizes: Callable[[str], bool] = lambda _: False
    """Whether a text has the form of such a credential, and of no other transport's."""
    identity: Callable[[str], str] = str
    """Returns what no two accounts may have in common, from the normal form: secret."""
    realm: Callable[[SettingsT], str] = lambda _: ""
    """Returns where an account uses its credential: accounts may share one if their realms differ."""
    check: Callable[[SettingsT, str], None] = lambda _settings, _credential: None
    """Raises ValueError, which contains no secret, for settings that do not go with a credential in its normal form."""
    kind: AccountKind = AccountKind.API_KEY
    noun: str = "credential"
    """What the credential is called in messages."""
    duplicate_advice: str = "use another one"
    """What to do if two accounts have the same credential."""
    egress: Callable[[SettingsT], str] = lambda _: ""
    """Returns the egress of an account's requests, without credentials. Raises ValueError, which contains no secret."""
    tier: Callable[[SettingsT], str] = lambda _: ""
    """Returns the tier of an account: whether its use costs money."""
    quota_group: Callable[[SettingsT], str] = lambda _: ""
    """Returns what the upstream counts its quotas by, if accounts can share them; empty: by the account."""
    facts: Callable[[bytes], Facts] = lambda _: Facts()
    """Returns facts read from the record that the transport keeps in the store's collection `SESSIONS`."""
    parts: tuple[CredentialPart, ...] = ()
    """The values that `accounts add` asks for; together, one a line, they are the credential. Empty: it asks once."""
    complete: Callable[[str], bool] = lambda _: False
    """Whether the first of `parts` is a whole credential already, so that no other one is asked for."""
    options: tuple[AccountOption, ...] = ()

    def configure(self, accounts: Iterable[SettingsT]) -> dict[str, ConfiguredAccount[SettingsT]]:
        """Return the accounts of the settings by id.

        Raises:
            ValueError: an account is invalid, or two share a credential; the message names accounts, not secrets.

        """
        found: dict[str, ConfiguredAccount[SettingsT]] = {}
        owners: dict[str, str] = {}
        for settings in accounts:
            account = found[settings.id] = self._read(settings)
            self.claim(owners, account)
        return found

    def reconfigure(
        self, accounts: Sequence[SettingsT], before: Mapping[str, ConfiguredAccount[SettingsT]]
    ) -> tuple[dict[str, ConfiguredAccount[SettingsT]], list[str]]:
        """Read the accounts of the settings again; return them, and the files or ids of those that are invalid.

        An account that became invalid keeps its configuration of `before`.
        """
        valid = {one.id: account for one in accounts if (account := self._read_valid(one)) is not None}
        found: dict[str, ConfiguredAccount[SettingsT]] = {}
        owners: dict[str, str] = {}

        def accept(account: ConfiguredAccount[SettingsT] | None) -> bool:
            try:
                if account is not None:
                    self.claim(owners, account)
                    found[account.id] = account
            except DuplicateCredential:
                return False
            return account is not None

        for one in accounts:
            earlier = before.get(one.id)
            if earlier is not None and valid.get(one.id, earlier) == earlier:
                accept(earlier)
        for account in valid.values():  # may take a credential that another account gave up, but not one in use
            if account.id not in found and not accept(account):
                accept(before.get(account.id))
        invalid = [str(self.file_of(one) or one.id) for one in accounts if found.get(one.id, one) != valid.get(one.id)]
        return {one.id: found[one.id] for one in accounts if one.id in found}, invalid

    def from_record(self, record: AccountRecord) -> ConfiguredAccount[SettingsT]:
        """Return an account of the store.

        Raises:
            ValueError: the account is invalid; the message names the account, not its secrets.

        """
        try:
            return self._validate(self._with_options(record), record.secret)
        except ValueError as error:
            raise ValueError(f"account {record.id!r}: {error}") from None

    @staticmethod
    def normalized(record: AccountRecord, account: ConfiguredAccount[Any]) -> AccountRecord:
        """Return the record of an account as the store keeps it: credential and options in their normal form."""
        options = msgspec.json.encode({name: getattr(account.settings, name) for name in record.options})
        return msgspec.structs.replace(record, secret=account.credential, options=msgspec.json.decode(options))

    def merge(
        self, declared: Mapping[str, ConfiguredAccount[SettingsT]], records: Iterable[AccountRecord]
    ) -> tuple[dict[str, ConfiguredAccount[SettingsT]], dict[str, str]]:
        """Return the accounts of the settings and the store by id, and why accounts of the store are skipped, by id."""
        found, skipped = dict(declared), dict[str, str]()
        owners: dict[str, str] = {}
        for account in declared.values():
            self.claim(owners, account)
        for record in sorted(records, key=lambda record: (record.created, record.id)):
            if record.id in declared:
                skipped[record.id] = f"account {record.id!r}: ignored, because the settings have an account of this id"
                continue
            try:
                account = self.from_record(record)
                self.claim(owners, account)
            except ValueError as error:
                skipped[record.id] = str(error)
            else:
                found[record.id] = account
        return found, skipped

    def claim(self, owners: dict[str, str], account: ConfiguredAccount[SettingsT]) -> None:
        """Record the account as the owner of its credential in `owners`.

        Raises:
            DuplicateCredential: another account owns it; names both.

        """
        owner = owners.setdefault(f"{self.identity(account.credential)} {self.realm(account.settings)}", account.id)
        if owner != account.id:
            raise DuplicateCredential(
                f"account {account.id!r} has the same {self.noun} as account {owner!r}; {self.duplicate_advice}"
            )

    def file_of(self, settings: SettingsT) -> Path | None:
        """Return the file that holds the credential of an account of the settings."""
        return getattr(settings, f"{self.field}_file", None)

    def account_of(
        self,
        settings: SettingsT,
        transport: str,
        facts: Callable[[], Facts] = Facts,
        reach: Callable[[], Awaitable[None]] = reachable,
    ) -> Account:
        """Return the pool's view of an account."""
        return Account(
            id=settings.id,
            transport=transport,
            kind=self.kind,
            concurrency=settings.concurrency,
            weight=settings.weight,
            per_minute=settings.per_minute,
            per_day=settings.per_day,
            capabilities=frozenset(settings.capabilities),
            tier=self.tier(settings),
            quota_group=self.quota_group(settings),
            egress=self.egress(settings),
            tags=settings.tags,
            note=settings.note,
            facts=facts,
            reach=reach,
        )

    def _with_options(self, record: AccountRecord) -> SettingsT:
        """Return a stored account's settings; raise ValueError with the name of an invalid option."""
        reserved = {"id", self.field, f"{self.field}_file"}
        names = [name for name in self.settings.__struct_fields__ if name not in reserved]
        base: dict[str, Any] = {"id": record.id, self.field: record.secret}
        for name, value in record.options.items():
            if name not in names:
                raise ValueError(f"unknown option {name[:64]!r}; valid are {', '.join(names)}")
            try:
                msgspec.convert(base | {name: value}, self.settings, strict=False)
            except msgspec.ValidationError:
                raise ValueError(f"{name}: invalid value") from None
        try:
            return msgspec.convert(base | record.options, self.settings, strict=False)
        except msgspec.ValidationError:
            raise ValueError("invalid id") from None

    def _read_valid(self, settings: SettingsT) -> ConfiguredAccount[SettingsT] | None:
        try:
            return self._read(settings)
        except ValueError:
            return None

    def _read(self, settings: SettingsT) -> ConfiguredAccount[SettingsT]:
        """Validate an account's settings and read its credential."""
        text, file = str(getattr(settings, self.field)), self.file_of(settings)
        if (file is None) is (not text.strip()):
            raise ValueError(f"account {settings.id!r}: set one of {self.field}_file and {self.field}")
        try:
            return self._validate(settings, read_secret(file) if file is not None else text)
        except ValueError as error:
            raise ValueError(f"account {settings.id!r}: {error}") from None

    def _validate(self, settings: SettingsT, text: str) -> ConfiguredAccount[SettingsT]:
        if settings.id.endswith(GUEST):
            raise ValueError(f"ids that end in {GUEST!r} are reserved; choose another id")
        self.egress(settings)
        credential = self.parse(text)
        self.check(settings, credential)
        return ConfiguredAccount(settings=settings, credential=credential)
