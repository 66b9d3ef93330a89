//! Batches, splits, retries and order, with a function in this process and records made here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::deliver::Lane;
use super::record::Record;
use super::{Mapping, Shared};
use crate::function::{BoxFuture, Event, Function, Outcome, Refused};
use crate::journal::Journal;
use crate::lambda::{AsyncOptions, Lambda};
use crate::pulse::Pulse;

type Answers = Box<dyn Fn(&[String]) -> Result<Outcome, Refused> + Send + Sync>;

/// A function that notes the batches it gets, and answers as the test says.
struct Noted {
    batches: Mutex<Vec<Vec<String>>>,
    answers: Answers,
}

impl Function for Noted {
    fn invoke(&self, event: Event) -> BoxFuture<'_, Result<Outcome, Refused>> {
        let payload: Value = serde_json::from_slice(&event.payload).unwrap();
        let sequences: Vec<String> = payload["Records"].as_array().unwrap().iter().map(|record| text(&record["dynamodb"]["SequenceNumber"])).collect();
        let answer = (self.answers)(&sequences);
        self.batches.lock().unwrap().push(sequences);
        Box::pin(async move { answer })
    }

    fn busy(&self) -> usize {
        0
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn ok() -> Result<Outcome, Refused> {
    Ok(Outcome::Answered("null".into()))
}

fn failed() -> Result<Outcome, Refused> {
    Ok(Outcome::failed("Boom", "as told"))
}

fn record(sequence: u32) -> Record {
    let json = json!({"dynamodb": {"SequenceNumber": sequence.to_string(), "Keys": {"pk": {"S": "i"}}}});
    Record { json, sequence: sequence.to_string(), created: Timestamp::now().as_duration().as_secs_f64(), seen: Instant::now() }
}

fn quick() -> Mapping {
    Mapping { retry_delay: Duration::from_millis(1), max_retries: Some(2), ..Mapping::default() }
}

struct Bed {
    function: Arc<Noted>,
    shared: Arc<Shared>,
    lambda: Arc<Lambda>,
}

impl Bed {
    fn new(answers: impl Fn(&[String]) -> Result<Outcome, Refused> + Send + Sync + 'static) -> Self {
        let function = Arc::new(Noted { batches: Mutex::default(), answers: Box::new(answers) });
        let pulse = Pulse::new();
        let journal = Arc::new(Journal::default());
        let lambda = Lambda::new("f".to_owned(), "arn:f".to_owned(), function.clone(), AsyncOptions::default(), journal, pulse.clone());
        Self { function, shared: Arc::new(Shared::new(pulse)), lambda }
    }

    /// Sends records through one lane to the end.
    async fn deliver(&self, mapping: Mapping, records: Vec<Record>) -> Vec<Vec<String>> {
        let (sender, taken) = mpsc::channel(1000);
        self.shared.backlog.fetch_add(records.len(), std::sync::atomic::Ordering::SeqCst);
        for record in records {
            sender.send(record).await.unwrap();
        }
        drop(sender);
        Lane { mapping: Arc::new(mapping), shared: self.shared.clone(), lambda: self.lambda.clone() }.run(taken).await;
        assert_eq!(self.shared.backlog(), 0);
        self.function.batches.lock().unwrap().clone()
    }
}

fn numbers(all: &[&[u32]]) -> Vec<Vec<String>> {
    all.iter().map(|batch| batch.iter().map(u32::to_string).collect()).collect()
}

#[tokio::test]
async fn records_come_in_batches_and_in_order() {
    let bed = Bed::new(|_| ok());
    let batches = bed.deliver(Mapping { batch_size: 2, ..quick() }, (1..=5).map(record).collect()).await;
    assert_eq!(batches, numbers(&[&[1, 2], &[3, 4], &[5]]));
    assert_eq!(bed.lambda.counts().stream, 3);
}

#[tokio::test]
async fn a_window_waits_for_more() {
    let bed = Bed::new(|_| ok());
    let (sender, taken) = mpsc::channel(10);
    let mapping = Arc::new(Mapping { window: Duration::from_secs(60), ..quick() });
    bed.shared.backlog.fetch_add(2, std::sync::atomic::Ordering::SeqCst);
    let lane = tokio::spawn(Lane { mapping, shared: bed.shared.clone(), lambda: bed.lambda.clone() }.run(taken));
    sender.send(record(1)).await.unwrap();
    // The lane has taken the first one, and waits.
    while sender.capacity() < 10 {
        tokio::task::yield_now().await;
    }
    sender.send(record(2)).await.unwrap();
    drop(sender);
    lane.await.unwrap();
    assert_eq!(*bed.function.batches.lock().unwrap(), numbers(&[&[1, 2]]));
}

#[tokio::test]
async fn a_poison_record_is_found_by_halves_and_given_up_alone() {
    let bed = Bed::new(|batch| if batch.contains(&"3".to_owned()) { failed() } else { ok() });
    let batches = bed.deliver(quick(), (1..=4).map(record).collect()).await;
    assert_eq!(batches, numbers(&[&[1, 2, 3, 4], &[1, 2], &[3, 4], &[3], &[3], &[3], &[4]]));
    let given_up = bed.shared.failed();
    assert_eq!((given_up.len(), given_up[0].condition, &given_up[0].sequence_numbers), (1, "RetryAttemptsExhausted", &vec!["3".to_owned()]));
    assert!(given_up[0].error.as_deref().unwrap().contains("Boom"));
}

#[tokio::test]
async fn without_halving_the_whole_batch_is_tried_again() {
    let bed = Bed::new(|_| failed());
    let batches = bed.deliver(Mapping { bisect: false, ..quick() }, vec![record(1), record(2)]).await;
    assert_eq!(batches, numbers(&[&[1, 2], &[1, 2], &[1, 2]]));
    assert_eq!(bed.shared.failed()[0].sequence_numbers, ["1", "2"]);
}

#[tokio::test]
async fn a_reported_record_is_where_it_goes_on() {
    let bed = Bed::new(|batch| match batch.len() {
        4 => Ok(Outcome::Answered(json!({"batchItemFailures": [{"itemIdentifier": "4"}, {"itemIdentifier": "3"}]}).to_string().into())),
        _ => Ok(Outcome::Answered(json!({"batchItemFailures": []}).to_string().into())),
    });
    let batches = bed.deliver(quick(), (1..=4).map(record).collect()).await;
    assert_eq!(batches, numbers(&[&[1, 2, 3, 4], &[3, 4]]));
}

#[tokio::test]
async fn a_report_that_names_no_record_is_a_failure_of_all() {
    for wrong in
        [r#"{"batchItemFailures":[{"itemIdentifier":"9"}]}"#, r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, r#"{"batchItemFailures":[{}]}"#, r#""done""#]
    {
        let bed = Bed::new(move |_| Ok(Outcome::Answered(wrong.into())));
        let batches = bed.deliver(Mapping { max_retries: Some(0), bisect: false, ..quick() }, vec![record(1)]).await;
        assert_eq!((batches.len(), bed.shared.failed().len()), (1, 1), "{wrong}");
    }
    let ignored = Bed::new(|_| Ok(Outcome::Answered(r#"{"batchItemFailures":[{"itemIdentifier":"1"}]}"#.into())));
    ignored.deliver(Mapping { report_item_failures: false, ..quick() }, vec![record(1)]).await;
    assert!(ignored.shared.failed().is_empty(), "a mapping without reports takes every answer for success");
}

#[tokio::test]
async fn throttling_is_no_attempt() {
    let tries = Mutex::new(0);
    let bed = Bed::new(move |_| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        if *tries <= 5 { Err(Refused::Throttled) } else { ok() }
    });
    let batches = bed.deliver(quick(), vec![record(1)]).await;
    assert_eq!((batches.len(), bed.shared.failed().len(), bed.lambda.counts().throttled), (6, 0, 5));
}

#[tokio::test]
async fn old_records_are_given_up() {
    let bed = Bed::new(|_| ok());
    let old = Record { created: 1_000_000.0, ..record(1) };
    let batches = bed.deliver(Mapping { max_record_age: Some(Duration::from_secs(60)), ..quick() }, vec![old, record(2)]).await;
    assert_eq!(batches, numbers(&[&[2]]));
    assert_eq!(bed.shared.failed()[0].condition, "RecordAgeExceeded");
}

#[tokio::test]
async fn what_is_too_large_together_is_delivered_in_parts() {
    let bed = Bed::new(|_| ok());
    let large = |sequence| {
        let mut record = record(sequence);
        record.json["dynamodb"]["NewImage"] = json!({"tail": {"S": "x".repeat(3 * 1024 * 1024)}});
        record
    };
    let batches = bed.deliver(quick(), vec![large(1), large(2), large(3)]).await;
    assert_eq!(batches, numbers(&[&[1], &[2], &[3]]));
}

#[tokio::test]
async fn a_stream_can_be_paused_late_and_repeat_itself() {
    let bed = Bed::new(|_| ok());
    bed.shared.trouble(|trouble| {
        trouble.twice = true;
        trouble.delay = Duration::from_millis(200);
        trouble.paused = true;
    });
    let begun = Instant::now();
    let shared = bed.shared.clone();
    let resume = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        shared.trouble(|trouble| trouble.paused = false);
    });
    let resumed = bed.shared.clone();
    let batches = bed.deliver(quick(), vec![record(1)]).await;
    assert!(!resumed.troubles().paused, "nothing was delivered before");
    resume.await.unwrap();
    assert_eq!(batches, numbers(&[&[1], &[1]]));
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[test]
fn a_stream_is_drained_when_a_later_look_found_nothing() {
    let shared = Shared::new(Pulse::new());
    let before = Instant::now();
    assert!(!shared.is_drained(before), "no shard has been looked at");
    shared.shards().get_or_insert_default().insert("s".to_owned(), None);
    assert!(!shared.is_drained(before));
    let looked = Instant::now();
    shared.shards().get_or_insert_default().insert("s".to_owned(), Some(looked));
    assert!(shared.is_drained(before));
    assert!(!shared.is_drained(looked + Duration::from_millis(1)), "that look began too early");
}
