//! What clients ask, again and again until they are answered, and what they were told.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use durable::ids::{Incarnation, MessageId};
use durable::ports::{ListQuery, ReusePolicy};
use durable::{App, Client, ClientError, InstanceId, Payload, Start};
use durable_tests::sim::program::Program;

use crate::process::{Answer, Request};

/// What a request is about, for the oracle.
#[derive(Debug, Clone)]
pub enum About {
    /// A start of this life.
    Start(InstanceId, Incarnation),
    /// An event whose data is this number.
    Event(InstanceId, u64),
    /// Anything else that somebody does to an instance.
    Control(&'static str, InstanceId),
}

/// A request, until it has its answer.
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// What it is about.
    pub about: About,
    /// How often it was tried.
    pub tries: u32,
    /// Who has it.
    pub by: Option<u32>,
    /// When it was first sent, in the count of all steps of clients.
    pub sent: u64,
    /// When it was answered.
    pub answered: u64,
    /// The answer.
    pub answer: Option<Answer>,
}

impl Asked {
    /// A request that is yet to be sent.
    #[must_use]
    pub fn new(about: About, request: Request) -> Self {
        Self { request, about, tries: 0, by: None, sent: 0, answered: 0, answer: None }
    }

    /// How long to wait before the next try.
    #[must_use]
    pub fn pause(&self) -> Duration {
        Duration::from_millis(300).saturating_mul(2_u32.saturating_pow(self.tries.min(8)))
    }
}

/// True if a client is to ask again.
#[must_use]
pub fn is_trouble(answer: &Answer) -> bool {
    matches!(answer, Err(ClientError::Store(_) | ClientError::Stopping | ClientError::TooManyMessages(_) | ClientError::UnknownOrchestrator { .. }))
}

/// Starts a program under an id, as this life.
#[must_use]
pub fn start(app: &Arc<App>, id: &InstanceId, life: Incarnation, program: &Program, policy: ReusePolicy) -> Asked {
    let input = app.encode(program).unwrap_or_default();
    let (id, about) = (id.clone(), About::Start(id.clone(), life));
    Asked::new(
        about,
        Rc::new(move |client: Client| {
            let start = Start { incarnation: Some(life), policy, ..Start::new("interpret", input.clone()).id(id.clone()) };
            Box::pin(async move { client.start(start).await.map(|_| ()) })
        }),
    )
}

/// How an event is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Under a message id.
    Plain,
    /// Under a key.
    Keyed,
    /// Under a key, in this life only.
    In(Incarnation),
}

/// Raises an event.
#[must_use]
pub fn raise(app: &Arc<App>, id: &InstanceId, name: &str, number: u64, how: How) -> Asked {
    let data: Payload = app.encode(&number).unwrap_or_default();
    let (id, name, about) = (id.clone(), name.to_owned(), About::Event(id.clone(), number));
    Asked::new(
        about,
        Rc::new(move |client: Client| {
            let (id, name, data, key) = (id.clone(), name.clone(), data.clone(), format!("key {number}"));
            Box::pin(async move {
                match how {
                    How::Plain => client.raise_event(&id, &name, data, Some(MessageId((1_u128 << 100 | u128::from(number)).to_be_bytes()))).await,
                    How::Keyed => client.raise_event_once(&id, &name, data, &key).await,
                    How::In(life) => client.raise_event_in(&id, life, &name, data, Some(&key)).await,
                }
            })
        }),
    )
}

/// Reads all that can be read.
#[must_use]
pub fn read(client: Client, id: InstanceId) -> std::pin::Pin<Box<dyn Future<Output = Answer>>> {
    Box::pin(async move {
        client.status(&id).await?;
        client.list(ListQuery { top: 2, ..ListQuery::default() }, None).await?;
        client.history(&id).await?;
        client.wait_for_end_within(&id, Duration::from_secs(1)).await.map(drop)
    })
}

/// A step of a client that is asked for by name.
pub type Step = fn(Client, InstanceId) -> std::pin::Pin<Box<dyn Future<Output = Answer>>>;

/// Does something to an instance.
#[must_use]
pub fn control(what: &'static str, id: &InstanceId, step: Step) -> Asked {
    let (id, about) = (id.clone(), About::Control(what, id.clone()));
    Asked::new(about, Rc::new(move |client: Client| step(client, id.clone())))
}
