"""The control calls under /sandbox: what a test or an operator sets, and what the sandbox has seen.

These answer to loopback only, and none of it exists at ContaDigital.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import accounts
from sandbox.accounts import Account, Behaviour, NewAccount
from sandbox.cancelling import Cancelling
from sandbox.dialects import NAMED, SandboxDialect, aspects, chosen_dialect
from sandbox.faults import FAULTS, FaultRule, Scenario, chaos
from sandbox.provider import Provider
from sandbox.refusals import Refusal

Body = Mapping[str, Any]
Action = Callable[[Body, Request], Any]


def routes(provider: Provider, cancelling: Cancelling, *, open_control: bool) -> list[Route]:
    """The routes of the control API."""
    control = _Control(provider, cancelling)
    table: list[tuple[str, str, Action]] = [
        ("GET", "/health", control.health),
        ("GET", "/ledger", control.ledger),
        ("POST", "/reset", control.reset),
        ("GET", "/accounts", control.list_accounts),
        ("POST", "/accounts", control.open_account),
        ("GET", "/accounts/{name}", control.show_account),
        ("PATCH", "/accounts/{name}", control.change_account),
        ("POST", "/accounts/{name}/regenerate-key", control.regenerate_key),
        ("POST", "/accounts/{name}/revoke-key", control.revoke_key),
        ("POST", "/accounts/{name}/kill-tokens", control.kill_tokens),
        ("POST", "/accounts/{name}/customers/{rfc}", control.change_customer),
        ("GET", "/accounts/{name}/customers", control.list_customers),
        ("PUT", "/accounts/{name}/customers", control.put_customer),
        ("POST", "/accounts/{name}/products", control.add_product),
        ("GET", "/accounts/{name}/ids", control.list_ids),
        ("GET", "/accounts/{name}/cfdis", control.list_cfdis),
        ("GET", "/accounts/{name}/records/{id:int}", control.show_record),
        ("POST", "/accounts/{name}/records/{id:int}/cancellation", control.decide_cancellation),
        ("POST", "/taxpayers", control.add_taxpayer),
        ("GET", "/scenarios", control.list_scenarios),
        ("POST", "/scenarios", control.add_scenarios),
        ("DELETE", "/scenarios", control.clear_scenarios),
        ("POST", "/chaos", control.start_chaos),
        ("POST", "/clock", control.move_clock),
        ("GET", "/faults", lambda _, __: FAULTS),
        ("GET", "/dialects", lambda _, __: {"aspects": aspects(), "named": NAMED}),
    ]
    built = [Route(path, _endpoint(action, open_control), methods=[method]) for method, path, action in table]

    async def certificate(_: Request) -> Response:
        return Response(provider.seals.pac.certificate, media_type="application/pkix-cert")

    return [*built, Route("/pac.cer", certificate, methods=["GET"])]


def _endpoint(action: Action, open_control: bool) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        host = request.client.host if request.client else ""
        if not open_control and host not in ("127.0.0.1", "::1"):
            return JSONResponse({"error": "the control calls answer to loopback only"}, status_code=403)
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else {}
            return JSONResponse(action(body, request))
        except KeyError as error:
            return JSONResponse({"error": f"there is no {error}"}, status_code=404)
        except (ValueError, ValidationError) as error:
            return JSONResponse({"error": str(error)}, status_code=422)

    return endpoint


class _Control:
    def __init__(self, provider: Provider, cancelling: Cancelling) -> None:
        self._provider = provider
        self._cancelling = cancelling

    def health(self, _: Body, __: Request) -> Any:
        return {"status": "ok", "pid": os.getpid(), "control": self._provider.control_url}

    def ledger(self, _: Body, request: Request) -> Any:
        return self._provider.store.ledger.report(request.query_params.get("account"))

    def reset(self, _: Body, __: Request) -> Any:
        self._provider.reset()
        return {"status": "ok"}

    def list_accounts(self, _: Body, __: Request) -> Any:
        return [_described(account) for account in self._provider.accounts()]

    def open_account(self, body: Body, __: Request) -> Any:
        return _described(self._provider.open_account(NewAccount.model_validate(body)))

    def show_account(self, _: Body, request: Request) -> Any:
        return _described(self._account(request))

    def change_account(self, body: Body, request: Request) -> Any:
        """Any of: enabled, stamps, series {name: active}, add_lugar, remove_lugar, add_serie, razon_social, rfc,
        api_key, behaviour {...}, dialect {...} (or a name, or a seed)."""
        account = self._account(request)
        for name, value in body.items():
            if name == "api_key":
                self._provider.set_key(account, str(value))
            else:
                _change(account, name, value)
        self._provider.store.save_account(account)
        return _described(account)

    def regenerate_key(self, body: Body, request: Request) -> Any:
        key = self._provider.regenerate_key(
            self._account(request),
            other_ids=bool(body.get("other_ids")),
            other_empresa=bool(body.get("other_empresa")),
        )
        return {"api_key": key}

    def revoke_key(self, _: Body, request: Request) -> Any:
        self._provider.revoke_key(self._account(request))
        return {"status": "ok"}

    def kill_tokens(self, _: Body, request: Request) -> Any:
        self._provider.kill_tokens(self._account(request))
        return {"status": "ok"}

    def change_customer(self, body: Body, request: Request) -> Any:
        account, rfc = self._account(request), request.path_params["rfc"]
        known = self._provider.store.customer(account.name, rfc)
        if known is None:
            raise KeyError(rfc)
        data = {name: body.get(name, value) for name, value in known.items() if name != "Id"}
        return self._provider.store.save_customer(account.name, rfc, data)

    def list_customers(self, _: Body, request: Request) -> Any:
        return self._provider.store.all_customers(self._account(request).name)

    def put_customer(self, body: Body, request: Request) -> Any:
        """Write a customer as a person keeps it in the portal: any fields, beside RFC, RazonSocial, CP, Estatus..."""
        data = {"RazonSocial": "", "RegimenFiscal": "", "CP": "", "Estatus": True} | dict(body)
        return self._provider.store.save_customer(self._account(request).name, str(body["RFC"]), data)

    def add_product(self, body: Body, request: Request) -> Any:
        """Make a product in the portal: Clave, Nombre, ClaveProdServ, ObjetoImp, IdUM."""
        try:
            return self._provider.make_product(self._account(request), body)
        except Refusal as no:
            raise ValueError(no.mensaje) from no

    def list_ids(self, _: Body, request: Request) -> Any:
        """Every id of an account under the SAT's keys, as a person reads them off the portal."""
        account = self._account(request)
        keys = {"RFCs": "RFC", "Series": "Serie", "Sucursales": "Nombre", "LugaresDeExpedicion": "CP"}
        ids: dict[str, Any] = {
            title: {row[keys.get(title, "Clave")]: account.shown_id(row["Id"]) for row in rows}
            for title, rows in account.catalogues.items()
        }
        products = self._provider.store.all_products(account.name)
        return ids | {"IdEmpresa": account.id_empresa, "Productos": products}

    def list_cfdis(self, _: Body, request: Request) -> Any:
        """Every stamp of an account with its XML, as it is and whatever an answer made of it."""
        return [
            {
                "id": record.id,
                "folio_original": record.folio_original,
                "uuid": record.uuid,
                "xml": record.xml.decode(),
            }
            for record in self._provider.store.records.stamped(self._account(request).name)
            if record.xml is not None
        ]

    def show_record(self, _: Body, request: Request) -> Any:
        record = self._provider.store.records.find(self._account(request).name, request.path_params["id"])
        if record is None:
            raise KeyError(request.path_params["id"])
        return {
            "id": record.id,
            "folio_original": record.folio_original,
            "uuid": record.uuid,
            "body": json.loads(record.body),
            "cancellation": record.cancellation,
        }

    def decide_cancellation(self, body: Body, request: Request) -> Any:
        account = self._account(request)
        record = self._provider.store.records.find(account.name, request.path_params["id"])
        if record is None:
            raise KeyError(request.path_params["id"])
        if body.get("state") not in ("cancelled", "refused", "expired"):
            raise ValueError("state is cancelled, refused or expired")
        return self._cancelling.decide(account, record, body["state"]).cancellation

    def add_taxpayer(self, body: Body, __: Request) -> Any:
        rfc, name, postcode = str(body["rfc"]), str(body["name"]), str(body["postcode"])
        self._provider.store.save_taxpayer(rfc, name, postcode)
        self._provider.sat.add(rfc, name, postcode)
        return {"status": "ok"}

    def list_scenarios(self, _: Body, __: Request) -> Any:
        return self._provider.scenarios.state()

    def add_scenarios(self, body: Body, __: Request) -> Any:
        """One rule, or `{"seed", "rules": [...]}`."""
        scenario = (
            Scenario.model_validate(body)
            if "rules" in body
            else Scenario(rules=[FaultRule.model_validate(body)])
        )
        if "seed" in body:
            self._provider.scenarios.seed(scenario.seed)
        self._provider.scenarios.add(scenario.rules, self._provider.clock.running())
        return self._provider.scenarios.state()

    def clear_scenarios(self, _: Body, __: Request) -> Any:
        self._provider.scenarios.clear()
        return []

    def start_chaos(self, body: Body, __: Request) -> Any:
        scenario = chaos(int(body.get("seed", 0)), float(body.get("factor", 1)))
        self._provider.scenarios.seed(scenario.seed)
        self._provider.scenarios.add(scenario.rules, self._provider.clock.running())
        return self._provider.scenarios.state()

    def move_clock(self, body: Body, __: Request) -> Any:
        self._provider.clock.offset = timedelta(seconds=float(body["offset_seconds"]))
        return {"now": self._provider.clock.now().isoformat()}

    def _account(self, request: Request) -> Account:
        return self._provider.account(request.path_params["name"])


def _change(account: Account, name: str, value: Any) -> None:
    match name:
        case "enabled":
            account.enabled = bool(value)
        case "stamps":
            account.stamps_left = None if value is None else int(value)
        case "series":
            for serie, active in value.items():
                row = account.serie(serie)
                if row is None:
                    raise KeyError(serie)
                row["Activa"] = bool(active)
        case "add_serie":
            accounts.add_row(
                account, "Series", {"Id": 0, "Serie": str(value), "Activa": True, "FolioActual": 0}
            )
        case "add_lugar":
            accounts.add_row(account, "LugaresDeExpedicion", {"Id": 0, "CP": str(value)})
        case "remove_lugar":
            rows = account.catalogues["LugaresDeExpedicion"]
            account.catalogues["LugaresDeExpedicion"] = [row for row in rows if row.get("CP") != value]
        case "razon_social":
            account.catalogues["RFCs"][0]["RazonSocial"] = str(value)
        case "rfc":
            account.catalogues["RFCs"][0]["RFC"] = str(value)
        case "behaviour":
            account.behaviour = Behaviour.model_validate(account.behaviour.model_dump() | value)
        case "dialect":
            chosen = chosen_dialect(value)
            changed = (
                chosen if isinstance(chosen, SandboxDialect) else account.dialect.model_copy(update=chosen)
            )
            accounts.set_dialect(account, SandboxDialect.model_validate(changed.model_dump()))
        case _:
            raise ValueError(f"{name} cannot be changed")


def _described(account: Account) -> dict[str, Any]:
    return account.model_dump() | {"stamps": account.stamps_left}
