"""The template for Azure: its properties against the typed models of Azure's own libraries, and rules of our own."""

import enum
import json
import re
import typing
from pathlib import Path

import azure.mgmt.applicationinsights.models as insights
import azure.mgmt.authorization.models as authorization
import azure.mgmt.loganalytics.models as logs
import azure.mgmt.storage.models as storage
import azure.mgmt.web.models as web
from harness import Plant, check

TEMPLATE = "infra/azure/azuredeploy.json"
MODELS = {
    "Microsoft.Authorization/roleAssignments": (authorization, "RoleAssignmentCreateParameters"),
    "Microsoft.Insights/components": (insights, "ApplicationInsightsComponent"),
    "Microsoft.OperationalInsights/workspaces": (logs, "Workspace"),
    "Microsoft.Storage/storageAccounts": (storage, "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": (storage, "BlobContainer"),
    "Microsoft.Web/serverfarms": (web, "AppServicePlan"),
    "Microsoft.Web/sites": (web, "Site"),
}
# Of the template's language, and so of no model.
ENVELOPE = {"type", "apiVersion", "name", "dependsOn", "scope", "copy", "location", "tags", "condition"}


class Template:
    def __init__(self, folder: Path):
        self.text = (folder / TEMPLATE).read_text()
        self.all = json.loads(self.text)
        self.resources = self.all["resources"]

    def only(self, kind: str) -> dict:
        [found] = [resource for resource in self.resources if resource["type"] == kind]
        return found

    def settings(self) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.only("Microsoft.Web/sites")["properties"]["siteConfig"]["appSettings"]}


def fields(model) -> dict | None:
    """The JSON names of a model's fields, with what each of them is (none: no model)."""
    if hasattr(model, "_attribute_map"):
        found: dict = {}
        for name, one in model._attribute_map.items():
            place, *rest = re.split(r"(?<!\\)\.", one["key"])
            if rest:
                found.setdefault(place, {})[".".join(rest)] = one["type"]
            else:
                found[place] = one["type"]
        return found
    if not getattr(model, "_is_model", False):
        return None
    model({})  # fills what follows
    names = {}
    for kind in reversed(model.__mro__):
        for attribute, hint in getattr(kind, "__annotations__", {}).items():
            field = model._attr_to_rest_field.get(attribute)
            if field is not None:
                names[field._rest_name] = hint
    return names


def resolved(module, hint):
    """The model or the enumeration that a field's type names, if it names one."""
    words = re.findall(r"\w+", str(hint))
    for kind in [*typing.get_args(hint), *(getattr(module, word, None) for word in words)]:
        if isinstance(kind, type) and (issubclass(kind, enum.Enum) or fields(kind) is not None):
            return kind
    return None


def walk(module, kind, value, path: str, top: bool = False) -> list[str]:
    known = kind if isinstance(kind, dict) else fields(kind)
    found = []
    for name, inner in value.items():
        if name not in known:
            if not (top and name in ENVELOPE):
                found.append(f"{path}.{name} is no property")
            continue
        hint = known[name]
        target = hint if isinstance(hint, dict) else resolved(module, hint)
        for one in inner if isinstance(inner, list) else [inner]:
            if isinstance(target, dict) or (target is not None and not issubclass(target, enum.Enum)):
                found += walk(module, target, one, f"{path}.{name}") if isinstance(one, dict) else []
            elif target is not None and isinstance(one, str) and not one.startswith("["):
                values = [member.value for member in target]
                found += [] if one in values else [f"{path}.{name} is {one!r}, and not one of {values[:8]}"]
    return found


@check(
    "every property of the template is one that Azure's libraries know",
    Plant(TEMPLATE, '"httpsOnly": true', '"httpsOnlyy": true', "httpsOnlyy"),
    Plant(TEMPLATE, '"instanceMemoryMB": "[', '"instanceMemMB": "[', "instanceMemMB"),
    Plant(TEMPLATE, '"name": "custom"', '"name": "rust"', "rust"),
    Plant(TEMPLATE, '"SystemAssignedIdentity"', '"SystemIdentity"', "SystemIdentity"),
    Plant(TEMPLATE, '"allowSharedKeyAccess"', '"allowSharedKeyAcces"', "allowSharedKeyAcces"),
    Plant(TEMPLATE, '"PerGB2018"', '"PerGB2081"', "PerGB2081"),
    Plant(TEMPLATE, '"dailyQuotaGb"', '"dailyQuota"', "dailyQuota"),
    Plant(TEMPLATE, '"Application_Type": "web"', '"Application_Typ": "web"', "Application_Typ"),
    Plant(TEMPLATE, '"principalType"', '"principalTyp"', "principalTyp"),
    Plant(TEMPLATE, '"type": "Microsoft.Web/serverfarms"', '"type": "Microsoft.Web/serverFarms"', "serverFarms"),
)
def typed(folder: Path) -> list[str]:
    found = []
    for resource in Template(folder).resources:
        if resource["type"] not in MODELS:
            found.append(f"{resource['type']} is not looked at here: add its model")
            continue
        module, name = MODELS[resource["type"]]
        found += walk(module, getattr(module, name), resource, resource["type"], top=True)
    return found


@check(
    "what the template names is there, and what is there is named",
    Plant(TEMPLATE, "\"[variables('storage')]\"", "\"[variables('storag')]\"", "storag"),
    Plant(TEMPLATE, "\"[parameters('logFilter')]\"", '"info"', "logFilter"),
    Plant(TEMPLATE, "resourceId('Microsoft.Web/serverfarms', variables('plan'))", "resourceId('Microsoft.Web/serverfarm', variables('plan'))", "Microsoft.Web/serverfarm "),
    Plant(TEMPLATE, "[concat(parameters('name'), '-plan')]", "[concat(parameters('name'), '-plan']", "brackets"),
)
def references(folder: Path) -> list[str]:
    template, found = Template(folder), []
    for kind in ("parameters", "variables"):
        used, there = set(re.findall(rf"{kind}\('(\w+)'\)", template.text)), set(template.all[kind])
        found += [f"{kind[:-1]} {name} is not there" for name in sorted(used - there)]
        found += [f"{kind[:-1]} {name} is used by nobody" for name in sorted(there - used)]
    types = {resource["type"] for resource in template.resources}
    for name in set(re.findall(r"(?<!subscriptionR)(?<!subscription)resourceId\('([\w./]+)'", template.text)):
        if name not in types:
            found.append(f"resourceId of {name} : no resource here is of that type")
    for text in re.findall(r'"(\[(?!\[)[^"]*)"', template.text):
        plain = re.sub(r"'[^']*'", "", text)
        if not text.endswith("]") or plain.count("(") != plain.count(")") or text.count("'") % 2:
            found.append(f"the brackets or quotes of {text} do not match")
    return found


@check(
    "storage takes no keys, and nothing is reached without TLS",
    Plant(TEMPLATE, '"allowSharedKeyAccess": false', '"allowSharedKeyAccess": true', "allowSharedKeyAccess"),
    Plant(TEMPLATE, '"allowBlobPublicAccess": false', '"allowBlobPublicAccess": true', "allowBlobPublicAccess"),
    Plant(TEMPLATE, '"supportsHttpsTrafficOnly": true', '"supportsHttpsTrafficOnly": false', "supportsHttpsTrafficOnly"),
    Plant(TEMPLATE, '"minimumTlsVersion": "TLS1_2"', '"minimumTlsVersion": "TLS1_0"', "minimumTlsVersion"),
    Plant(TEMPLATE, '"httpsOnly": true', '"httpsOnly": false', "httpsOnly"),
    Plant(TEMPLATE, '"publicAccess": "None"', '"publicAccess": "Blob"', "publicAccess"),
    Plant(TEMPLATE, '"AzureWebJobsStorage__accountName"', '"AzureWebJobsStorage"', "connection string"),
    Plant(TEMPLATE, '"securestring"', '"string"', "securestring"),
    Plant(TEMPLATE, "\"value\": \"[variables('app')]\"", "\"value\": \"[parameters('urlSecret')]\"", "outputs"),
)
def closed(folder: Path) -> list[str]:
    template, found = Template(folder), []
    account, site = template.only("Microsoft.Storage/storageAccounts")["properties"], template.only("Microsoft.Web/sites")
    container = template.only("Microsoft.Storage/storageAccounts/blobServices/containers")["properties"]
    wanted = {"allowSharedKeyAccess": False, "allowBlobPublicAccess": False, "supportsHttpsTrafficOnly": True, "minimumTlsVersion": "TLS1_2"}
    found += [f"the storage account's {name} has to be {value}" for name, value in wanted.items() if account.get(name) != value]
    if site["properties"].get("httpsOnly") is not True:
        found.append("the app's httpsOnly has to be true")
    if container.get("publicAccess") != "None":
        found.append("the container's publicAccess has to be None")
    settings = template.settings()
    if settings.get("AzureWebJobsStorage__credential") != "managedidentity" or "AzureWebJobsStorage__accountName" not in settings or "AzureWebJobsStorage" in settings:
        found.append("storage is reached by the app's identity, and not by a connection string")
    if template.all["parameters"]["urlSecret"]["type"] != "securestring":
        found.append("urlSecret has to be a securestring, or it stands in the deployment's history")
    if "urlSecret" in json.dumps(template.all["outputs"]):
        found.append("outputs are readable: no secret among them")
    return found


@check(
    "the app sleeps at no cost, and cannot grow beyond what was said",
    Plant(TEMPLATE, '"FC1"', '"EP1"', "FC1"),
    Plant(TEMPLATE, "\"maximumInstanceCount\": \"[parameters('maximumInstanceCount')]\"", "\"maximumInstanceCount\": \"[parameters('maximumInstanceCount')]\", \"alwaysReady\": [{\"name\": \"http\", \"instanceCount\": 1}]", "alwaysReady"),
    Plant(TEMPLATE, '"AzureWebJobsDisableHomepage"', '"FUNCTIONS_WORKER_RUNTIME"', "FUNCTIONS_WORKER_RUNTIME"),
    Plant(TEMPLATE, "          \"dailyQuotaGb\": \"[parameters('dailyLogGB')]\"\n", "", "dailyQuotaGb"),
    Plant(TEMPLATE, '"minLength": 3,\n      "maxLength": 45', '"minLength": 1,\n      "maxLength": 63', "hub"),
    Plant(TEMPLATE, '"maxLength": 11', '"maxLength": 20', "24"),
)
def asleep(folder: Path) -> list[str]:
    template, found = Template(folder), []
    scale = template.only("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"]
    if template.only("Microsoft.Web/serverfarms")["sku"] != {"tier": "FlexConsumption", "name": "FC1"}:
        found.append("the plan has to be FC1, which costs nothing while nothing runs")
    if "alwaysReady" in scale:
        found.append("alwaysReady instances are paid for while they sleep")
    if "maximumInstanceCount" not in scale:
        found.append("maximumInstanceCount has to bound what may run at a time")
    if "FUNCTIONS_WORKER_RUNTIME" in template.settings():
        found.append("FUNCTIONS_WORKER_RUNTIME must not be set on this plan: functionAppConfig says it")
    if "dailyQuotaGb" not in template.only("Microsoft.OperationalInsights/workspaces")["properties"].get("workspaceCapping", {}):
        found.append("logs have to have a ceiling: dailyQuotaGb")
    hub, name = template.all["parameters"]["taskHub"], template.all["parameters"]["name"]
    if (hub["minLength"], hub["maxLength"]) != (3, 45):
        found.append("a hub's name has 3 to 45 characters, or its queues cannot be named")
    if name["maxLength"] > 24 - 13:
        found.append("a storage account's name has 24 characters at most, and 13 of them are the suffix")
    return found


ROLES = {
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
}
ADAPTER = "adapters/azure/src"


@check(
    "the app's identity may do what host and adapter do, in its own account, and nothing else",
    Plant(TEMPLATE, "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa4", "0a9a7e1f"),
    Plant(TEMPLATE, "974c5e8b-45b9-4653-ba55-5f855dd0fb88", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "8e3af657"),
    Plant(TEMPLATE, '"name": "Storage Queue Data Contributor"', '"name": "Owner"', "Owner"),
    Plant(TEMPLATE, "      \"scope\": \"[concat('Microsoft.Storage/storageAccounts/', variables('storage'))]\",\n", "", "scope"),
    Plant(TEMPLATE, ".identity.principalId]", ".identity.tenantId]", "principal"),
    Plant(f"{ADAPTER}/planted.rs", "", 'const URL: &str = "https://x.vault.azure.net";', "vault"),
    Plant(f"{ADAPTER}/planted.rs", "", 'const HOST: &str = ".blob.core.windows.net";', "blob"),
)
def roles(folder: Path) -> list[str]:
    template, found = Template(folder), []
    given = {one["name"]: one["id"] for one in template.all["variables"]["roles"]}
    found += [f"{name} with the id {id} is no role that host or adapter needs" for name, id in given.items() if ROLES.get(name) != id]
    found += [f"{name} ({id}) is missing" for name, id in ROLES.items() if given.get(name) != id]
    assignment = template.only("Microsoft.Authorization/roleAssignments")
    if assignment.get("scope") != "[concat('Microsoft.Storage/storageAccounts/', variables('storage'))]":
        found.append("the scope of the roles has to be the storage account alone")
    if not assignment["properties"]["principalId"].endswith(".identity.principalId]"):
        found.append("the roles have to be the principal's that is the app's identity")
    # Blobs are the host's: keys, leases, the package. The adapter uses tables and queues.
    for file in sorted((folder / ADAPTER).rglob("*.rs")):
        code = re.sub(r"^\s*//.*$", "", file.read_text(), flags=re.M)
        for service in re.findall(r"\b(blob|file|dfs|vault|servicebus|documents)\b(?=\.(?:core\.windows|azure|windows)\.net)", code):
            found.append(f"{file.relative_to(folder)} talks to {service}, for which the app's identity has no role")
    return found
