//! Which account, where its services are, and how its requests are authorised: from a connection string, or from settings that name an
//! identity.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Url;

use super::auth::{Auth, Bearer, TokenSource};
use super::identity::ManagedIdentity;
use super::send::Service;

/// The connection string of Azurite on this machine, with its usual ports.
pub const DEVELOPMENT_STORAGE: &str = "UseDevelopmentStorage=true";

/// The account that every storage emulator has; its key is public.
const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
const DEVELOPMENT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Where the services of the public cloud are.
const PUBLIC_CLOUD: &str = "core.windows.net";

/// Settings that do not lead to a storage account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Nothing is set.
    #[error(
        "there is no setting {setting}: set it to the connection string of a storage account (for Azurite: {DEVELOPMENT_STORAGE}), or set \
         {setting}__accountName to use a managed identity"
    )]
    Missing {
        /// The setting.
        setting: String,
    },
    /// The connection string lacks something.
    #[error("the connection string in {setting} has no {part}: copy it again from \"Access keys\" or \"Shared access signature\" of the storage account")]
    NoPart {
        /// The setting.
        setting: String,
        /// What is missing.
        part: &'static str,
    },
    /// Something in the setting makes no sense.
    #[error("{part} in {setting} cannot be used: {why}")]
    BadPart {
        /// The setting.
        setting: String,
        /// Which part of it.
        part: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// There can be no HTTP client.
    #[error("there is no HTTP client: {0}")]
    Client(String),
}

/// A storage account: where its services are, and how requests to them are authorised. Clones share tokens.
#[derive(Clone)]
pub struct Account {
    pub(super) name: String,
    table: Url,
    queue: Url,
    pub(super) auth: Auth,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = (self.table.as_str(), self.queue.as_str());
        f.debug_struct("Account").field("name", &self.name).field("places", &places).field("auth", &self.auth).finish()
    }
}

impl Account {
    /// The account that a setting leads to, as Azure Functions reads it: a connection string in the setting itself; or, beside it, the name of
    /// an account (`…__accountName`) or the addresses of its services (`…__tableServiceUri`, `…__queueServiceUri`), used as the managed
    /// identity of this app (`…__clientId` for one that is assigned by the user). `lookup` gives the value of a setting.
    ///
    /// # Errors
    /// [`AccountError`] says which setting is missing or wrong, and what would be right.
    pub fn from_settings(setting: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, AccountError> {
        let lookup = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        if let Some(text) = lookup(setting) {
            return Self::from_connection_string(setting, &text);
        }
        let beside = |part: &str| lookup(&format!("{setting}__{part}"));
        let name = beside("accountName");
        let place = |part: &str, service: &str| match (beside(part), &name) {
            (Some(text), _) => parse(&format!("{setting}__{part}"), "the address", &text),
            (None, Some(name)) => parse(&format!("{setting}__accountName"), "the name", &format!("https://{name}.{service}.{PUBLIC_CLOUD}")),
            (None, None) => Err(AccountError::Missing { setting: setting.to_owned() }),
        };
        let (table, queue) = (place("tableServiceUri", "table")?, place("queueServiceUri", "queue")?);
        if let Some(kind) = beside("credential").filter(|kind| !kind.eq_ignore_ascii_case("managedidentity")) {
            let (setting, part) = (format!("{setting}__credential"), format!("{kind:?}"));
            return Err(AccountError::BadPart { setting, part, why: "the one that is known is \"managedidentity\"".to_owned() });
        }
        let identity = ManagedIdentity::from_settings(setting, beside("clientId"), lookup)?;
        Self::with_tokens(setting, table, queue, Arc::new(identity))
    }

    /// An account whose requests bear tokens of this source.
    ///
    /// # Errors
    /// If a service is at an address without TLS: a token may not be sent there.
    pub fn with_tokens(setting: &str, table: Url, queue: Url, source: Arc<dyn TokenSource>) -> Result<Self, AccountError> {
        for place in [&table, &queue] {
            if place.scheme() != "https" {
                let part = format!("the address {place}");
                return Err(AccountError::BadPart { setting: setting.to_owned(), part, why: "tokens are sent over https only".to_owned() });
            }
        }
        Ok(Self { name: first_label(&table), table, queue, auth: Auth::Bearer(Arc::new(Bearer::new(source))) })
    }

    /// The account of a connection string; `setting` is where it stands, for messages.
    ///
    /// # Errors
    /// [`AccountError`] says what is missing or wrong in it.
    pub fn from_connection_string(setting: &str, text: &str) -> Result<Self, AccountError> {
        let parts = Parts::read(setting, text)?;
        if parts.get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return parts.development();
        }
        let auth = match (parts.get("sharedaccesssignature"), parts.get("accountkey")) {
            (Some(signature), _) => Auth::Sas(parts.signature(signature)?),
            (None, Some(key)) => parts.key(key)?,
            (None, None) => return Err(parts.without("AccountKey and no SharedAccessSignature")),
        };
        let name = parts.get("accountname");
        let suffix = parts.get("endpointsuffix").unwrap_or(PUBLIC_CLOUD);
        let scheme = parts.get("defaultendpointsprotocol").unwrap_or("https");
        let place = |part: &str, service: &str, what: &'static str| match (parts.get(part), name) {
            (Some(address), _) => parse(setting, what, address),
            (None, Some(name)) => parse(setting, "AccountName", &format!("{scheme}://{name}.{service}.{suffix}")),
            (None, None) => Err(parts.without("AccountName")),
        };
        let (table, queue) = (place("tableendpoint", "table", "TableEndpoint")?, place("queueendpoint", "queue", "QueueEndpoint")?);
        let name = match (name, &auth) {
            (Some(name), _) => name.to_owned(),
            (None, Auth::Key(_)) => return Err(parts.without("AccountName")),
            (None, _) => first_label(&table),
        };
        Ok(Self { name, table, queue, auth })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a service is. Paths are put behind it.
    #[must_use]
    pub const fn place(&self, service: Service) -> &Url {
        match service {
            Service::Table => &self.table,
            Service::Queue => &self.queue,
        }
    }
}

/// The parts of a connection string, by their names in lower case.
struct Parts<'a> {
    setting: &'a str,
    parts: HashMap<String, &'a str>,
}

impl<'a> Parts<'a> {
    fn read(setting: &'a str, text: &'a str) -> Result<Self, AccountError> {
        let mut parts = HashMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                let why = "it is made of parts like AccountName=…, with a ';' between them".to_owned();
                return Err(AccountError::BadPart { setting: setting.to_owned(), part: "the connection string".to_owned(), why });
            };
            parts.insert(name.trim().to_ascii_lowercase(), value.trim());
        }
        Ok(Self { setting, parts })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.parts.get(name).copied().filter(|value| !value.is_empty())
    }

    fn without(&self, part: &'static str) -> AccountError {
        AccountError::NoPart { setting: self.setting.to_owned(), part }
    }

    fn bad(&self, part: &str, why: &str) -> AccountError {
        AccountError::BadPart { setting: self.setting.to_owned(), part: part.to_owned(), why: why.to_owned() }
    }

    fn key(&self, text: &str) -> Result<Auth, AccountError> {
        let key = BASE64_STANDARD.decode(text).ok().and_then(|key| Auth::key(&key));
        key.ok_or_else(|| self.bad("AccountKey", "a key is base64, copy it again from \"Access keys\" of the storage account"))
    }

    /// The parts of a signature, as they are put behind each request.
    fn signature(&self, text: &str) -> Result<String, AccountError> {
        let text = text.trim_start_matches('?');
        let has = |name: &str| text.split('&').any(|part| part.split_once('=').is_some_and(|(found, value)| found == name && !value.is_empty()));
        if !has("sig") {
            return Err(self.bad("SharedAccessSignature", "it has no sig=…, copy all of it"));
        }
        Ok(text.to_owned())
    }

    /// The emulator on this machine, or behind the address that the string names.
    fn development(&self) -> Result<Account, AccountError> {
        let host = self.get("developmentstorageproxyuri").unwrap_or("http://127.0.0.1").trim_end_matches('/');
        let place = |port: u16| parse(self.setting, "DevelopmentStorageProxyUri", &format!("{host}:{port}/{DEVELOPMENT_ACCOUNT}"));
        let auth = self.key(DEVELOPMENT_KEY)?;
        Ok(Account { name: DEVELOPMENT_ACCOUNT.to_owned(), table: place(10002)?, queue: place(10001)?, auth })
    }
}

fn parse(setting: &str, part: &str, text: &str) -> Result<Url, AccountError> {
    let bad = |why: String| AccountError::BadPart { setting: setting.to_owned(), part: part.to_owned(), why };
    let address = Url::parse(text.trim_end_matches('/')).map_err(|e| bad(format!("{text:?} is no address ({e})")))?;
    let plain = matches!(address.scheme(), "http" | "https") && address.has_host() && address.query().is_none() && address.fragment().is_none();
    if plain { Ok(address) } else { Err(bad(format!("{text:?} is not an address like https://account.table.core.windows.net"))) }
}

/// The first part of the name of a host, which is the name of the account.
fn first_label(place: &Url) -> String {
    place.host_str().unwrap_or_default().split('.').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a2V5";

    fn read(text: &str) -> Result<Account, AccountError> {
        Account::from_connection_string("AzureWebJobsStorage", text)
    }

    fn places(account: &Account) -> [&str; 2] {
        [Service::Table, Service::Queue].map(|service| account.place(service).as_str())
    }

    #[test]
    fn the_emulator_has_its_usual_places() {
        let account = read("UseDevelopmentStorage=true").unwrap();
        assert_eq!(account.name(), "devstoreaccount1");
        assert_eq!(places(&account), ["http://127.0.0.1:10002/devstoreaccount1", "http://127.0.0.1:10001/devstoreaccount1"]);
        let account = read("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite/").unwrap();
        assert_eq!(places(&account)[0], "http://azurite:10002/devstoreaccount1");
    }

    #[test]
    fn a_string_with_a_key_leads_to_any_cloud() {
        let account = read(&format!("DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn")).unwrap();
        assert_eq!(places(&account), ["https://shop.table.core.chinacloudapi.cn/", "https://shop.queue.core.chinacloudapi.cn/"]);
        let account = read(&format!("AccountName=shop;AccountKey={KEY};TableEndpoint=http://127.0.0.1:7/shop/;")).unwrap();
        assert_eq!(places(&account), ["http://127.0.0.1:7/shop", "https://shop.queue.core.windows.net/"]);
        assert!(matches!(account.auth, Auth::Key(_)));
        assert!(!format!("{account:?}").contains(KEY), "a key is shown");
    }

    #[test]
    fn a_signature_needs_no_name() {
        let text = "TableEndpoint=https://shop.table.core.windows.net;QueueEndpoint=https://shop.queue.core.windows.net;SharedAccessSignature=sv=2020&sig=x%3D";
        let account = read(text).unwrap();
        assert_eq!((account.name(), places(&account)[0]), ("shop", "https://shop.table.core.windows.net/"));
        assert!(matches!(&account.auth, Auth::Sas(signature) if signature == "sv=2020&sig=x%3D"));
        assert!(!format!("{account:?}").contains("x%3D"), "a signature is shown");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_setting() {
        for (text, wanted) in [
            ("AccountName=shop", "no AccountKey"),
            ("AccountKey=a2V5", "no AccountName"),
            ("AccountName=shop;AccountKey=*", "AccountKey"),
            ("AccountName=sh op;AccountKey=a2V5", "AccountName"),
            ("AccountName=shop;SharedAccessSignature=sv=1", "sig="),
            ("AccountName=shop;AccountKey=a2V5;TableEndpoint=shop", "TableEndpoint"),
            ("shop", "AccountName=…"),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.contains(wanted) && said.contains("AzureWebJobsStorage"), "{text}: {said}");
        }
        let said = Account::from_settings("AzureWebJobsStorage", |_| None).unwrap_err().to_string();
        assert!(said.contains("no setting AzureWebJobsStorage") && said.contains(DEVELOPMENT_STORAGE), "{said}");
    }

    #[test]
    fn an_identity_is_named_by_settings_beside_it() {
        let settings = |more: &'static [(&str, &str)]| {
            let known: &[(&str, &str)] = &[("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token"), ("IDENTITY_HEADER", "secret")];
            let find = move |name: &str| known.iter().chain(more).find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned());
            Account::from_settings("S", find)
        };
        let account = settings(&[("S__accountName", "shop"), ("S__credential", "managedidentity"), ("S__clientId", "me")]).unwrap();
        assert_eq!((account.name(), places(&account)[1]), ("shop", "https://shop.queue.core.windows.net/"));
        assert!(matches!(account.auth, Auth::Bearer(_)));
        let account = settings(&[("S__tableServiceUri", "https://a.table.x"), ("S__queueServiceUri", "https://a.queue.x")]).unwrap();
        assert_eq!(places(&account), ["https://a.table.x/", "https://a.queue.x/"]);
        for (more, wanted) in [
            (&[("S__tableServiceUri", "https://a.table.x")][..], "no setting S"),
            (&[("S__accountName", "shop"), ("S__credential", "secret")], "managedidentity"),
            (&[("S__tableServiceUri", "http://a.table.x"), ("S__queueServiceUri", "https://a.queue.x")], "https only"),
        ] {
            let said = settings(more).unwrap_err().to_string();
            assert!(said.contains(wanted), "{said}");
        }
        let find = |name: &str| (name == "S__accountName").then(|| "shop".to_owned());
        assert!(Account::from_settings("S", find).unwrap_err().to_string().contains("IDENTITY_ENDPOINT"));
    }
}
