//! A queue trigger: polls, keeps what is being worked on invisible to others, and settles it by how its execution ended.
//!
//! A message that fails too often, or that nobody can read, is copied to the queue's poison queue. Must never: create the trigger's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::app::{Function, Trigger};
use super::instance::Instance;
use super::payload::{self, Message};
use super::storage::{Queue, QueueError};

/// The shortest time between two looks at an empty queue.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest name of a queue.
const LONGEST_NAME: usize = 63;

struct Listener {
    instance: Arc<Instance>,
    function: String,
    binding: String,
    binary: bool,
    queue: Queue,
    poison: Option<Queue>,
    running: AtomicUsize,
    ended: Notify,
}

/// Listens for as long as the instance lives.
pub(super) async fn listen(instance: Arc<Instance>, function: Function) {
    let Trigger::Queue { binding, queue, connection, binary } = function.trigger else { return };
    let queue = match Queue::open(&connection, &queue, instance.client.clone(), instance.journal.clone()) {
        Ok(queue) => queue,
        Err(e) => return instance.journal.say(format!("{} does not listen: {e}", function.name)),
    };
    let poison = format!("{}-poison", queue.name());
    let poison = (!queue.name().ends_with("-poison") && poison.len() <= LONGEST_NAME).then(|| queue.beside(&poison));
    let (running, ended) = (AtomicUsize::new(0), Notify::new());
    Arc::new(Listener { instance, function: function.name, binding, binary, queue, poison, running, ended }).poll().await;
}

impl Listener {
    async fn poll(self: Arc<Self>) {
        let settings = self.instance.app.queues;
        let mut pause = SHORTEST;
        loop {
            while self.running.load(Ordering::SeqCst) > settings.new_batch_threshold {
                self.ended.notified().await;
            }
            let messages = match self.queue.get(settings.batch_size, self.instance.lease).await {
                Ok(messages) => messages,
                // It is looked for again and again.
                Err(QueueError::NotFound { .. }) => Vec::new(),
                Err(e) => {
                    self.instance.journal.say(format!("{} cannot look: {e}", self.function));
                    Vec::new()
                }
            };
            if messages.is_empty() {
                tokio::time::sleep(pause.mul_f64(super::random_share(0.8, 1.2)).min(settings.max_polling_interval)).await;
                pause = (pause * 2).min(settings.max_polling_interval);
                continue;
            }
            pause = SHORTEST;
            for message in messages {
                self.running.fetch_add(1, Ordering::SeqCst);
                let this = self.clone();
                self.instance.spawn(async move {
                    if let Err(e) = this.take(message).await {
                        this.instance.journal.say(format!("{} cannot settle a message: {e}", this.function));
                    }
                    this.running.fetch_sub(1, Ordering::SeqCst);
                    this.ended.notify_one();
                });
            }
        }
    }

    async fn take(&self, message: Message) -> Result<(), QueueError> {
        let settings = self.instance.app.queues;
        let body = if settings.base64 { STANDARD.decode(&message.text).ok() } else { Some(message.text.clone().into_bytes()) };
        let Some(body) = body else {
            self.instance.journal.say(format!("{}: message {} is no base64", self.function, message.id));
            return self.give_up(&message, &message.receipt).await;
        };
        if message.dequeue_count > settings.max_dequeue_count {
            return self.give_up(&message, &message.receipt).await;
        }
        let now = Timestamp::now();
        let body = payload::queue(&self.function, &self.binding, self.binary, &message, &body, now, &super::guid());
        let (receipt, result) = self.renewed(&message, self.instance.payload(&self.function, body)).await;
        match result {
            Ok(()) => self.queue.delete(&message.id, &receipt).await,
            Err(_) if message.dequeue_count >= settings.max_dequeue_count => self.give_up(&message, &receipt).await,
            // Without a poison queue it would come back for ever: it stays away for the rest of its lease.
            Err(_) if self.poison.is_none() => Ok(()),
            Err(_) => self.queue.hide(&message.id, &receipt, settings.visibility_timeout).await.map(drop),
        }
    }

    /// Runs an execution, and keeps its message invisible meanwhile; the receipt that holds in the end.
    async fn renewed<T>(&self, message: &Message, work: impl Future<Output = T>) -> (String, T) {
        let (mut receipt, lease) = (message.receipt.clone(), self.instance.lease);
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return (receipt, result),
                () = tokio::time::sleep(lease / 2) => match self.queue.hide(&message.id, &receipt, lease).await {
                    Ok(renewed) => receipt = renewed,
                    Err(e) => self.instance.journal.say(format!("{}: message {} is not held any more: {e}", self.function, message.id)),
                },
            }
        }
    }

    /// Copies a message to the poison queue, and then deletes it: two steps.
    async fn give_up(&self, message: &Message, receipt: &str) -> Result<(), QueueError> {
        let Some(poison) = &self.poison else { return Ok(()) };
        self.instance.journal.say(format!("{}: message {} goes to {}", self.function, message.id, poison.name()));
        poison.create().await?;
        poison.put(&message.text).await?;
        self.queue.delete(&message.id, receipt).await
    }
}
