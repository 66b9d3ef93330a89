//! Who may use an account: by its key, by a signature, and not by anything else.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use durable::ports::{ListQuery, Purge, Store};
use durable_azure::storage::{self, Account, Storage};
use durable_azure::store::TableStore;
use durable_tests::azurite::{ACCOUNT, Azurite, KEY};
use durable_tests::build::*;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

/// A signature for an account's tables and queues, as its owner makes one, with these permissions.
fn signature(permissions: &str) -> String {
    let (version, services, resources, end) = ("2019-02-02", "tq", "sco", "2100-01-01T00:00:00Z");
    let text = format!("{ACCOUNT}\n{permissions}\n{services}\n{resources}\n\n{end}\n\n\n{version}\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64_STANDARD.decode(KEY).unwrap()).unwrap();
    mac.update(text.as_bytes());
    let made = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let made = utf8_percent_encode(&made, NON_ALPHANUMERIC);
    format!("sv={version}&ss={services}&srt={resources}&sp={permissions}&se={}&sig={made}", end.replace(':', "%3A"))
}

fn store(connection: &str, hub: &str) -> TableStore {
    let account = Account::from_connection_string("AzureWebJobsStorage", connection).unwrap();
    let storage = Storage::new(account, storage::Options { attempt: Duration::from_secs(60) }).unwrap();
    Azurite::store(storage, hub)
}

fn places() -> String {
    let azurite = Azurite::get();
    let place = |service| format!("http://{}/{ACCOUNT}", azurite.address(service));
    format!("AccountName={ACCOUNT};TableEndpoint={};QueueEndpoint={}", place("table"), place("queue"))
}

/// A signature does all that a key does.
#[test]
fn a_signature_will_do_instead_of_a_key() {
    let store = store(&format!("{};SharedAccessSignature={}", places(), signature("rwdlacup")), &Azurite::hub());
    Azurite::get().run(async {
        store.create_table().await.unwrap();
        created(&store, start("a b ü", 1)).await;
        created(&store, start("a", 2)).await;
        deliver(&store, "a", raised_with(1, large(200_000, 1))).await;
        Turn::on("a", &load(&store, "a").await).takes_all().append(events(0..3000)).completes(text("1")).lands(&store).await;
        assert_eq!(store.list(ListQuery::default(), None).await.unwrap().items.len(), 2);
        assert_eq!(load(&store, "a").await.events, events(0..3000));
        assert_eq!(purged(&store, "a").await, Purge::Done);
    });
}

/// Whoever may not do something is told what to look at, and at once.
#[test]
fn a_wrong_key_and_a_narrow_signature_are_named() {
    let (azurite, hub) = (Azurite::get(), Azurite::hub());
    let owner = Azurite::store(azurite.storage(None), &hub);
    let wrong = store(&format!("{};AccountKey={}", places(), BASE64_STANDARD.encode("wrong")), &hub);
    let reader = store(&format!("{};SharedAccessSignature={}", places(), signature("r")), &hub);
    azurite.run(async {
        owner.create_table().await.unwrap();
        created(&owner, start("a", 1)).await;
        for error in [wrong.create_table().await.unwrap_err(), wrong.load(&id("a"), None).await.unwrap_err(), reader.create(start("b", 1)).await.unwrap_err()] {
            let said = error.to_string();
            assert!(said.contains("is not allowed") && said.contains("connection string") && said.contains(ACCOUNT), "{said}");
            assert!(!said.contains("sig="), "{said}");
        }
        assert_eq!(load(&reader, "a").await.header, pending(1));
    });
}
