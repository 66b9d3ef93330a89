//! What the suite is run on: a way to open fresh stores of one kind.

use std::any::Any;
use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, Barrier, Mutex};

use durable::ports::{PortFuture, Store};

/// Runs a future to its end on the calling thread.
pub type Runner = Arc<dyn Fn(PortFuture<()>) + Send + Sync>;

/// A fresh, empty store, and what must live as long as it does.
pub struct Opened {
    store: Arc<dyn Store>,
    keep: Vec<Box<dyn Any + Send + Sync>>,
    runner: Runner,
}

impl Opened {
    /// A store whose futures need no runtime.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self { store: Arc::new(store), keep: Vec::new(), runner: Arc::new(futures_executor::block_on) }
    }

    /// Keeps this as long as the store: a folder that is removed at the end, a server that is stopped.
    #[must_use]
    pub fn keeping(mut self, it: impl Any + Send + Sync) -> Self {
        self.keep.push(Box::new(it));
        self
    }

    /// Runs the store's futures this way, for stores that need a runtime. It is called from several threads at a time.
    #[must_use]
    pub fn run_by(mut self, runner: impl Fn(PortFuture<()>) + Send + Sync + 'static) -> Self {
        self.runner = Arc::new(runner);
        self
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened(..)")
    }
}

/// The store under test.
#[derive(Clone)]
pub struct Subject {
    open: Arc<dyn Fn() -> Opened + Send + Sync>,
    opened: Arc<Opened>,
}

impl Subject {
    /// Opens a fresh store.
    #[must_use]
    pub fn new(open: impl Fn() -> Opened + Send + Sync + 'static) -> Self {
        let opened = Arc::new(open());
        Self { open: Arc::new(open), opened }
    }

    /// Another fresh store of the same kind.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { open: Arc::clone(&self.open), opened: Arc::new((self.open)()) }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.opened.store)
    }

    /// Runs a future the way that the store needs.
    pub fn run(&self, future: impl Future<Output = ()> + Send + 'static) {
        (self.opened.runner)(Box::pin(future));
    }

    /// Makes this call `times` times at once, each on a thread of its own, and gives the answers in the order of their numbers.
    #[must_use]
    pub fn at_once<T: Send + 'static>(&self, times: u64, call: impl Fn(&dyn Store, u64) -> PortFuture<T> + Sync) -> Vec<T> {
        let gate = Barrier::new(times as usize);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..times)
                .map(|n| {
                    let (gate, call) = (&gate, &call);
                    scope.spawn(move || {
                        let (answer, future) = (Arc::new(Mutex::new(None)), call(&**self, n));
                        let slot = Arc::clone(&answer);
                        gate.wait();
                        self.run(async move {
                            let value = future.await;
                            *slot.lock().unwrap() = Some(value);
                        });
                        answer.lock().unwrap().take().expect("the runner ran the call to its end")
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("the call did not panic")).collect()
        })
    }
}

impl Deref for Subject {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.opened.store
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subject(..)")
    }
}
