//! Hostile input in every run, through the functions that the fuzz targets call: sound records, events, calls and requests, with some of their bytes
//! changed, moved or gone. `DURABLE_HOSTILE_CASES` makes it longer, `DURABLE_HOSTILE_SEED` makes other changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use durable_tests::build::{self, Random};
use durable_tests::hostile;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// Changes some bytes.
fn damaged(sound: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..1 + random.below(4) {
        let (at, byte) = (random.below(bytes.len() as u64 + 1) as usize, random.below(256) as u8);
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 => {
                let from = random.below(bytes.len() as u64 + 1) as usize;
                bytes.extend_from_within(from..);
            }
            _ => {
                if let Some(place) = bytes.get_mut(at) {
                    // Near what was there, or anything.
                    *place = if random.once_in(2) { place.wrapping_add(byte % 3) } else { byte };
                }
            }
        }
    }
    bytes
}

/// Has `read` read these, sound and damaged.
fn hostile(sound: &[Vec<u8>], cases: u64, read: fn(&[u8])) {
    let seed = number("DURABLE_HOSTILE_SEED", 7071);
    let mut random = Random::new(seed);
    sound.iter().for_each(|bytes| read(bytes));
    for case in 0..number("DURABLE_HOSTILE_CASES", cases) {
        let bytes = damaged(&sound[random.below(sound.len() as u64) as usize], &mut random);
        if let Err(panic) = std::panic::catch_unwind(|| read(&bytes)) {
            eprintln!("case {case} of seed {seed}: {bytes:?}, as text {:?}", String::from_utf8_lossy(&bytes));
            std::panic::resume_unwind(panic);
        }
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn damaged_records_are_refused_or_read_back_as_themselves() {
    let start = build::start("a", 1);
    let mut sound = vec![start.header.to_bytes().to_vec(), build::raised(1).to_bytes().to_vec(), build::sent_by("b", 2, 3).to_bytes().to_vec()];
    sound.extend(build::events(0..3).iter().map(|event| event.to_vec()));
    sound.extend(start.append.iter().map(|event| event.to_vec()));
    hostile(&sound, 20_000, hostile::stored_records);
}

#[test]
fn damaged_events_of_lambda_are_known_or_refused() {
    let sound = [
        r#"{"durable":"check","instance":"a","life":"00000000000000ff","revision":3,"hop":1,"until":"2999-01-01T00:00:00Z"}"#,
        r#"{"durable":"activity","instance":"a","life":"00000000000000ff","execution":0,"epoch":0,"sequence":1,"name":"n","input":"bnVsbA==","attempt":1,"limitMs":1000}"#,
        r#"{"Records":[{"eventSource":"aws:dynamodb","dynamodb":{"SequenceNumber":"1","NewImage":{"pk":{"S":"hub|a"},"sk":{"S":"0"},"i":{"B":"AAAAAAAAAAE="},"r":{"N":"1"},"j":{"N":"1"}}}}]}"#,
        r#"{"version":"2.0","rawPath":"/api","requestContext":{"http":{"method":"GET"}}}"#,
        r#"{"version":"1.0","requestContext":{"condition":"RetriesExhausted"},"requestPayload":{"durable":"faulted","after":"a"},"responsePayload":{}}"#,
    ];
    hostile(&texts(&sound), 20_000, hostile::lambda_events);
}

#[test]
fn damaged_calls_of_the_functions_host_are_messages_of_ours_or_refused() {
    let letter = r#"[{\"durable\":\"look\",\"instance\":\"a\",\"life\":\"00000000000000ff\",\"revision\":3}]"#;
    let sound = [
        format!(r#"{{"Data":{{"item":"{letter}"}},"Metadata":{{"Id":"x","DequeueCount":"1"}}}}"#),
        format!(r#"{{"Data":{{"item":{}}},"Metadata":{{}}}}"#, letter.replace('\\', "")),
        r#"[{"durable":"activity","instance":"a","life":"00","execution":0,"epoch":0,"sequence":1,"name":"n","attempt":1,"limitMs":9},"again"]"#.to_owned(),
    ];
    hostile(&sound.map(String::into_bytes), 20_000, hostile::azure_calls);
}

#[test]
fn any_text_is_no_id_or_one_that_every_store_can_tell_from_others() {
    let long = "x".repeat(256);
    hostile(&texts(&["a", "@b c|d%", "ünïcødé-🙂", "~~list-a", ".", "..", &long, "A%2FB+c", "a\u{200b}b"]), 20_000, hostile::ids_and_keys);
}

#[test]
fn damaged_requests_are_answered() {
    let sound = [
        "\u{1}/api/orchestrators/waits/a\n{\"x\":1}",
        "\u{1}/api/orchestrators/a/raise/Go\n\"data\"",
        "\u{0}/api/orchestrators/a/status?showHistory=true",
        "\u{0}/runtime/webhooks/durabletask/instances?top=3&runtimeStatus=Running,Completed&createdTimeFrom=2020-01-01T00:00:00Z",
        "\u{1}/runtime/webhooks/durabletask/instances/a/suspend?reason=x",
        "\u{1}/runtime/webhooks/durabletask/instances/a/rewind?reason=x",
        "\u{2}/runtime/webhooks/durabletask/instances/a",
        "\u{1}/api/orchestrators/a/event-url/Go?validFor=600",
    ];
    hostile(&texts(&sound), 1_500, hostile::http);
}
