"""ContaDigital itself, without HTTP: keys, tokens, accounts, catalogues, customers and products.

Nothing here waits. Each call is one step between two awaits of `app.py`,
so it happens wholly or not at all, and two requests for the same record cannot interleave.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sandbox import accounts, lists, refusals
from sandbox.accounts import Account, Behaviour, NewAccount
from sandbox.clock import SandboxClock
from sandbox.faults import Scenarios
from sandbox.refusals import Codigo, Refusal
from sandbox.sat_list import SatList
from sandbox.seals import Seals
from sandbox.store import Store
from sandbox.tokens import Tokens

_CUSTOMER: Final = [
    "RFC",
    "RazonSocial",
    "RegimenFiscal",
    "Email",
    "UsoCFDIDefault",
    "CP",
    "IdFormaPagoDefault",
    "Contacto",
    "Calle",
    "Ciudad",
    "Pais",
    "Estatus",
]
_CUSTOMER_NEEDED: Final = ("RFC", "RazonSocial", "RegimenFiscal", "CP")
_CONTACT: Final = ("Contacto", "Calle", "Pais")
_PRODUCT: Final = ("Clave", "Nombre", "ClaveProdServ", "IdUM", "ObjetoImp")


class Provider:
    """The state of the sandbox, and its rules of access."""

    def __init__(self, store: Path | str, *, demo: bool = False, seed: int = 0) -> None:
        self.store = Store(store)
        self.clock = SandboxClock()
        self.scenarios = Scenarios(seed)
        self.seals = Seals(self.store)
        self.sat = SatList()
        self.tokens = Tokens(self.store.secret("tokens"))
        self.control_url = ""
        """Where the control calls answer while the provider is down."""
        self._demo = demo
        self._by_name: dict[str, Account] = {}
        self._read_store()

    def reset(self) -> None:
        """Forget accounts, invoices, calls and faults; the demo account is made anew where there was one."""
        self.store.forget_everything()
        self.scenarios.clear()
        self.sat = SatList()
        self.clock.offset *= 0
        self._read_store()

    def _read_store(self) -> None:
        self._by_name = {account.name: account for account in self.store.accounts()}
        for taxpayer in self.store.taxpayers():
            self.sat.add(*taxpayer)
        if self._demo and accounts.DEMO_NAME not in self._by_name:
            self.open_account(accounts.demo_account())

    # -- accounts

    def accounts(self) -> list[Account]:
        """Every account there is."""
        return list(self._by_name.values())

    def account(self, name: str) -> Account:
        """An account by its name in the sandbox; raises KeyError."""
        return self._by_name[name]

    def open_account(self, new: NewAccount) -> Account:
        """Make an account; raises ValueError where the name or the key is taken."""
        if new.name in self._by_name or (new.api_key and self._by_key(new.api_key)):
            raise ValueError(f"the name or the key of account {new.name!r} is taken")
        taken = {account.id_empresa for account in self._by_name.values()}
        account = accounts.open_account(new, id_empresa=max(taken, default=1000) + 7)
        accounts.deal_ids(account)
        self._by_name[account.name] = account
        self.store.save_account(account)
        return account

    def regenerate_key(
        self, account: Account, *, other_ids: bool = False, other_empresa: bool = False
    ) -> str:
        """Give an account a new key; with other ids, as when ContaDigital sets the account up anew."""
        self._retire_key(account)
        account.api_key = accounts.new_key()
        if other_ids:
            account.deals += 1
            accounts.deal_ids(account)
            self.store.deal_other_ids(account.name)
        if other_empresa:
            account.id_empresa = max(known.id_empresa for known in self._by_name.values()) + 7
        self.store.save_account(account)
        return account.api_key

    def revoke_key(self, account: Account) -> None:
        """Take the key away: `conectar` refuses it from now on."""
        self._retire_key(account)
        self.store.save_account(account)

    def set_key(self, account: Account, key: str) -> None:
        """Give an account this key; its former one is refused from now on."""
        self._retire_key(account)
        account.api_key = key
        self.store.save_account(account)

    @staticmethod
    def _retire_key(account: Account) -> None:
        if account.api_key is not None:
            account.former_keys.append(account.api_key)
        account.api_key = None
        account.generation += 1

    def kill_tokens(self, account: Account) -> None:
        """Refuse every token issued until now."""
        account.token_epoch += 1
        self.store.save_account(account)

    def set_stamps(self, account: Account, stamps: int | None) -> None:
        """Set how many stamps are left; None counts none."""
        account.stamps_left = stamps
        self.store.save_account(account)

    def _by_key(self, key: str) -> Account | None:
        return next((account for account in self._by_name.values() if account.api_key == key), None)

    # -- authentication

    def account_of_key(self, body: object) -> Account | None:
        """Whose key a body of `conectar` holds, good or not (for the ledger and the scenarios)."""
        key = body.get("ApiKey") if isinstance(body, dict) else None
        if not isinstance(key, str):
            return None
        former = (account for account in self._by_name.values() if key in account.former_keys)
        return self._by_key(key) or next(former, None)

    def account_of_token(self, token: str) -> Account | None:
        """Whose token this is, good or not."""
        claims = self.tokens.read(token)
        return None if claims is None else self._by_name.get(claims.account)

    def account_of_document(self, name: str) -> Account | None:
        """Whose document the last part of a link names."""
        record = self.store.records.with_uuid(name.partition(".")[0])
        return None if record is None else self._by_name.get(record.account)

    def conectar(self, body: object) -> dict[str, Any]:
        """`Resultado` of conectar.json; a key that is nobody's is refused as new accounts refuse a former one."""
        account = self.account_of_key(body)
        if account is None or not isinstance(body, dict) or body["ApiKey"] != account.api_key:
            style = (account.behaviour if account is not None else Behaviour()).key_refusal
            raise Refusal(Codigo.KEY, "API Key inválido o revocado", status=int(style))
        self._enabled(account)
        result: dict[str, Any] = {"Token": self.tokens.issue(account, self.clock.now())}
        if account.behaviour.reports_empresa:
            result["IdEmpresa"] = account.id_empresa
        return result

    def authorize(self, token: str) -> Account:
        """The account of a good token; raises `Refusal` (401) for any other."""
        claims = self.tokens.read(token)
        account = None if claims is None else self._by_name.get(claims.account)
        if claims is None or account is None:
            raise _bad_token()
        stale = claims.generation != account.generation and not account.behaviour.old_tokens_survive
        if stale or claims.epoch != account.token_epoch or claims.ends_at <= self.clock.now().timestamp():
            raise _bad_token()
        self._enabled(account)
        return account

    @staticmethod
    def _enabled(account: Account) -> None:
        if not account.enabled:
            raise Refusal(
                Codigo.API_NOT_ENABLED, "La cuenta no está habilitada para facturar por API", status=403
            )

    @staticmethod
    def check_empresa(account: Account, id_empresa: object) -> None:
        """Raise `Refusal` where the IdEmpresa of a path or body is not the account's."""
        if str(id_empresa) != str(account.id_empresa):
            raise Refusal(Codigo.NOT_FOUND, "IdEmpresa no corresponde a la cuenta")

    # -- catalogues, customers, products

    def utiles(self, account: Account, id_empresa: object) -> Any:
        """`Resultado` of utiles.json, in the shape of the account's dialect."""
        self.check_empresa(account, id_empresa)
        return lists.utiles(account)

    def customer(self, account: Account, id_empresa: object, rfc: str) -> dict[str, Any] | None:
        """`Resultado` of clientes.json/{IdEmpresa}/{RFC}: the whole customer, with what a person keeps there."""
        self.check_empresa(account, id_empresa)
        found = self.store.customer(account.name, rfc)
        if found is not None:
            return found | {"IdEmpresaCliente": account.id_empresa}
        if account.behaviour.unknown_customer != "empty":
            status = 404 if account.behaviour.unknown_customer == "404" else 200
            raise Refusal(Codigo.NOT_FOUND, "No se encontró el cliente", status=status)
        return None

    def add_customer(self, account: Account, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST clientes.json: one RFC is one customer."""
        self.check_empresa(account, body.get("IdEmpresaCliente"))
        data = dict.fromkeys(_CUSTOMER) | _own_fields(body)
        if data["Estatus"] is None:
            data["Estatus"] = True
        _check_customer(account, data)
        rfc = str(data["RFC"])
        if self.store.customer(account.name, rfc) is not None:
            raise Refusal(Codigo.EXISTS, "Ya existe un cliente con ese RFC")
        return self.store.save_customer(account.name, rfc, data)

    def change_customer(self, account: Account, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT clientes.json: what is not sent stays as it was, or is emptied (`customer_put`)."""
        self.check_empresa(account, body.get("IdEmpresaCliente", account.id_empresa))
        rfc = body.get("RFC")
        known = self.store.customer(account.name, rfc) if isinstance(rfc, str) else None
        if known is None or str(body.get("Id", known["Id"])) != str(known["Id"]):
            raise Refusal(Codigo.NOT_FOUND, "No se encontró el cliente")
        before = _own_fields(known)
        if account.dialect.customer_put == "replace":
            before = dict.fromkeys(before) | {"Estatus": True}
        data = before | _own_fields(body)
        _check_customer(account, data)
        return self.store.save_customer(account.name, str(rfc), data)

    def products(self, account: Account, id_empresa: object, clave_prod_serv: str) -> list[dict[str, Any]]:
        """`Resultado` of productos.json/{IdEmpresa}/{ClaveProdServ}: every product under that key."""
        _check_products_call(account)
        self.check_empresa(account, id_empresa)
        return [_shown_product(row, account) for row in self.store.products(account.name, clave_prod_serv)]

    def add_product(self, account: Account, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST productos.json: `Clave` is unique in the account."""
        _check_products_call(account)
        self.check_empresa(account, body.get("IdEmpresa"))
        return _shown_product(self.make_product(account, body), account)

    def make_product(self, account: Account, body: Mapping[str, Any]) -> dict[str, Any]:
        """A product as a person makes it in the portal, whatever the API allows."""
        data = {name: body.get(name) for name in _PRODUCT}
        for name in ("Clave", "Nombre", "ClaveProdServ", "ObjetoImp"):
            if not isinstance(data[name], str) or not data[name]:
                raise refusals.body(f"Falta el campo {name}")
        if not 2 <= len(str(data["Nombre"])) <= 50:
            raise refusals.body("Nombre debe tener entre 2 y 50 caracteres")
        if data["ObjetoImp"] not in {f"0{n}" for n in range(1, 9)}:
            raise refusals.body("ObjetoImp no está en el catálogo c_ObjetoImp")
        if not isinstance(data["IdUM"], int | str) or account.row("UnidadesDeMedida", data["IdUM"]) is None:
            raise Refusal(Codigo.UNKNOWN_ID, f"IdUM {data['IdUM']} no existe en los catálogos de la cuenta")
        added = self.store.add_product(account.name, data)
        if added is None:
            raise Refusal(Codigo.EXISTS, "Ya existe un producto con esa Clave")
        return added


def _own_fields(customer: Mapping[str, Any]) -> dict[str, Any]:
    """What a customer says of itself: everything but the ids that the provider gives it."""
    return {name: value for name, value in customer.items() if name not in ("Id", "IdEmpresaCliente")}


def _check_customer(account: Account, data: Mapping[str, Any]) -> None:
    strict = account.dialect.customer_needs == "contact"
    for name in (*_CUSTOMER_NEEDED, *(_CONTACT if strict else ())):
        if not isinstance(data.get(name), str) or not data[name]:
            raise refusals.body(f"El campo {name} es requerido")
    if strict and data["Pais"] != "México":
        raise refusals.body("El campo Pais no es válido")


def _check_products_call(account: Account) -> None:
    match account.dialect.products:
        case "404" | "405" as status:
            raise Refusal(Codigo.NOT_FOUND, "El recurso no existe", status=int(status))
        case "refused":
            raise refusals.body("Los productos se administran en el portal")
        case _:
            return


def _shown_product(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    hidden = account.dialect.products == "no_id"
    return {name: value for name, value in row.items() if not (hidden and name == "Id")}


def _bad_token() -> Refusal:
    return Refusal(Codigo.TOKEN, "Token inválido o expirado", status=401)
