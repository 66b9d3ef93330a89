//! Deterministic combinators: all of many, the first of many, each as it completes, and a bounded fan-out.
//!
//! The winner is the one earliest in history, not the one polled first: children that wait for something already there see it one
//! completion at a time, in the order in which it came. Only children that are done without waiting win by their place in the list.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use super::Context;
use super::scopes::GroupId;
use super::state::State;

thread_local! {
    /// The execution whose orchestrator is being polled on this thread.
    static CURRENT: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

/// Runs `poll` with the execution set, so that combinators find it.
pub(crate) fn enter<R>(state: &Rc<RefCell<State>>, poll: impl FnOnce() -> R) -> R {
    struct Restore(Option<Rc<RefCell<State>>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|current| *current.borrow_mut() = self.0.take());
        }
    }
    let _restore = Restore(CURRENT.with(|current| current.borrow_mut().replace(state.clone())));
    poll()
}

/// The children of a combinator.
struct Children<F: Future> {
    futures: Vec<Option<Pin<Box<F>>>>,
    group: Option<(Rc<RefCell<State>>, GroupId)>,
    /// Children that have been added to the group.
    entered: usize,
    /// While completions from before are shown one at a time: up to which one.
    shown: Option<u64>,
}

impl<F: Future> Children<F> {
    fn new(futures: impl IntoIterator<Item = F>) -> Self {
        Self { futures: futures.into_iter().map(|f| Some(Box::pin(f))).collect(), group: None, entered: 0, shown: None }
    }

    fn push(&mut self, future: F) -> usize {
        self.futures.push(Some(Box::pin(future)));
        self.futures.len() - 1
    }

    /// Finds the execution, and adds children that are new to it. False outside of an orchestrator.
    fn prepare(&mut self) -> bool {
        if self.group.is_none() {
            let Some(state) = CURRENT.with(|current| current.borrow().clone()) else { return false };
            let group = state.borrow_mut().scopes.new_group();
            self.group = Some((state, group));
        }
        if let Some((state, group)) = &self.group
            && self.entered < self.futures.len()
        {
            let mut state = state.borrow_mut();
            for _ in self.entered..self.futures.len() {
                state.scopes.add_child(*group);
            }
            self.entered = self.futures.len();
            self.shown = Some(0);
        }
        true
    }

    /// Polls children that something came for, until one is done.
    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Option<(usize, F::Output)> {
        if !self.prepare() {
            return self.poll_each(cx);
        }
        let (state, group) = self.group.clone()?;
        loop {
            let (child, outer) = {
                let mut state = state.borrow_mut();
                let (child, scope) = state.scopes.next_ready(group)?;
                (child, state.scopes.enter(scope))
            };
            let done = self.futures.get_mut(child).and_then(Option::as_mut).map(|future| future.as_mut().poll(cx));
            state.borrow_mut().scopes.enter(outer);
            if let Some(Poll::Ready(output)) = done {
                state.borrow_mut().scopes.end_child(group, child);
                self.futures[child] = None;
                return Some((child, output));
            }
        }
    }

    /// Like `poll_ready`, in the order of history also for what had completed before.
    fn poll_in_order(&mut self, cx: &mut TaskContext<'_>) -> Option<(usize, F::Output)> {
        if !self.prepare() {
            return self.poll_each(cx);
        }
        let (state, _) = self.group.clone()?;
        let limit = state.borrow().visible;
        while let Some(shown) = self.shown {
            state.borrow_mut().visible = shown;
            let done = self.poll_ready(cx);
            let mut state = state.borrow_mut();
            state.visible = limit;
            if done.is_some() {
                return done;
            }
            self.shown = state.reveal_after(shown, limit);
        }
        self.poll_ready(cx)
    }

    fn poll_each(&mut self, cx: &mut TaskContext<'_>) -> Option<(usize, F::Output)> {
        for (child, slot) in self.futures.iter_mut().enumerate() {
            if let Some(future) = slot
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *slot = None;
                return Some((child, output));
            }
        }
        None
    }
}

impl<F: Future> Drop for Children<F> {
    fn drop(&mut self) {
        // In the order of the list, so that what the drops give up is deterministic.
        self.futures.clear();
        if let Some((state, group)) = self.group.take() {
            state.borrow_mut().scopes.end_group(group);
        }
    }
}

/// Waits for all, and gives their outputs in the order of the list. Linear in their number.
pub fn join_all<I>(futures: I) -> JoinAll<I::Item>
where
    I: IntoIterator,
    I::Item: Future,
{
    let children = Children::new(futures);
    let outputs = children.futures.iter().map(|_| None).collect();
    JoinAll { open: children.futures.len(), children, outputs }
}

/// See [`join_all`].
#[must_use = "futures do nothing unless awaited"]
pub struct JoinAll<F: Future> {
    children: Children<F>,
    outputs: Vec<Option<F::Output>>,
    open: usize,
}

impl<F: Future> Unpin for JoinAll<F> {}

impl<F: Future> Future for JoinAll<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while this.open > 0 {
            let Some((child, output)) = this.children.poll_ready(cx) else { return Poll::Pending };
            this.outputs[child] = Some(output);
            this.open -= 1;
        }
        Poll::Ready(std::mem::take(&mut this.outputs).into_iter().flatten().collect())
    }
}

/// Waits for all, or for the first error in the order of history; the others are then dropped.
///
/// # Errors
/// The error of the child that failed first.
pub async fn try_join_all<I, T, E>(futures: I) -> Result<Vec<T>, E>
where
    I: IntoIterator,
    I::Item: Future<Output = Result<T, E>>,
{
    let mut stream = as_completed(futures);
    let mut outputs: Vec<Option<T>> = Vec::new();
    while let Some((child, result)) = stream.next().await {
        if outputs.len() <= child {
            outputs.resize_with(child + 1, || None);
        }
        outputs[child] = Some(result?);
    }
    Ok(outputs.into_iter().flatten().collect())
}

/// Waits for the first, and gives its place in the list and its output; the others are dropped, which cancels timers and releases waits.
///
/// Of an empty list it never ends.
pub fn race<I>(futures: I) -> Race<I::Item>
where
    I: IntoIterator,
    I::Item: Future,
{
    Race { children: Children::new(futures) }
}

/// See [`race`].
#[must_use = "futures do nothing unless awaited"]
pub struct Race<F: Future> {
    children: Children<F>,
}

impl<F: Future> Unpin for Race<F> {}

impl<F: Future> Future for Race<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match self.children.poll_in_order(cx) {
            Some(winner) => {
                self.children.futures.clear();
                Poll::Ready(winner)
            }
            None => Poll::Pending,
        }
    }
}

/// A boxed branch of [`crate::select!`].
pub type Select<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Boxes a branch.
pub fn boxed<'a, T>(future: impl Future<Output = T> + 'a) -> Select<'a, T> {
    Box::pin(future)
}

/// The first of several branches that end in one type. [`crate::select!`] is the way to write it.
pub async fn select_boxed<T>(branches: Vec<Select<'_, T>>) -> T {
    race(branches).await.1
}

/// Gives each output as it completes, in the order of history.
pub fn as_completed<I>(futures: I) -> AsCompleted<I::Item>
where
    I: IntoIterator,
    I::Item: Future,
{
    let children = Children::new(futures);
    AsCompleted { open: children.futures.len(), children }
}

/// See [`as_completed`].
pub struct AsCompleted<F: Future> {
    children: Children<F>,
    open: usize,
}

impl<F: Future> Unpin for AsCompleted<F> {}

impl<F: Future> AsCompleted<F> {
    /// The next one, with its place in the list; `None` when all are done.
    pub async fn next(&mut self) -> Option<(usize, F::Output)> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Adds one more.
    pub fn push(&mut self, future: F) -> usize {
        self.open += 1;
        self.children.push(future)
    }

    fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<(usize, F::Output)>> {
        if self.open == 0 {
            return Poll::Ready(None);
        }
        match self.children.poll_in_order(cx) {
            Some(done) => {
                self.open -= 1;
                Poll::Ready(Some(done))
            }
            None => Poll::Pending,
        }
    }
}

/// A fan-out over a list. See [`Context::map`].
#[must_use = "futures do nothing unless awaited"]
pub struct MapFutures<I, F, Fut: Future> {
    ctx: Context,
    waiting: VecDeque<I>,
    each: F,
    at_most: usize,
    running: AsCompleted<Fut>,
    outputs: Vec<Option<Fut::Output>>,
}

impl<I, F, Fut: Future> Unpin for MapFutures<I, F, Fut> {}

impl<I, F, Fut> MapFutures<I, F, Fut>
where
    F: FnMut(Context, I) -> Fut,
    Fut: Future,
{
    pub(super) fn new(ctx: Context, items: VecDeque<I>, each: F) -> Self {
        let outputs = items.iter().map(|_| None).collect();
        Self { ctx, waiting: items, each, at_most: usize::MAX, running: as_completed([]), outputs }
    }

    /// No more than `n` run at a time (at least one).
    pub fn at_most(mut self, n: usize) -> Self {
        self.at_most = n.max(1);
        self
    }
}

impl<I, F, Fut> Future for MapFutures<I, F, Fut>
where
    F: FnMut(Context, I) -> Fut,
    Fut: Future,
{
    type Output = Vec<Fut::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            while this.running.open < this.at_most
                && let Some(item) = this.waiting.pop_front()
            {
                this.running.push((this.each)(this.ctx.clone(), item));
            }
            match this.running.poll_next(cx) {
                Poll::Ready(Some((child, output))) => this.outputs[child] = Some(output),
                Poll::Ready(None) => return Poll::Ready(std::mem::take(&mut this.outputs).into_iter().flatten().collect()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
