//! `select!`: the first of two to six branches of different types.

/// Where the outputs of branches meet. Only for the expansion of [`crate::select!`].
#[doc(hidden)]
pub mod branches {
    /// One of 2.
    pub enum Of2<A, B> {
        /// Branch A.
        A(A),
        /// Branch B.
        B(B),
    }
    /// One of 3.
    pub enum Of3<A, B, C> {
        /// Branch A.
        A(A),
        /// Branch B.
        B(B),
        /// Branch C.
        C(C),
    }
    /// One of 4.
    pub enum Of4<A, B, C, D> {
        /// Branch A.
        A(A),
        /// Branch B.
        B(B),
        /// Branch C.
        C(C),
        /// Branch D.
        D(D),
    }
    /// One of 5.
    pub enum Of5<A, B, C, D, E> {
        /// Branch A.
        A(A),
        /// Branch B.
        B(B),
        /// Branch C.
        C(C),
        /// Branch D.
        D(D),
        /// Branch E.
        E(E),
    }
    /// One of 6.
    pub enum Of6<A, B, C, D, E, F> {
        /// Branch A.
        A(A),
        /// Branch B.
        B(B),
        /// Branch C.
        C(C),
        /// Branch D.
        D(D),
        /// Branch E.
        E(E),
        /// Branch F.
        F(F),
    }
}

/// Waits for the first of two to six branches, by the order of history; the others are dropped, which cancels timers and releases waits.
///
/// The handlers run after the choice is made: they may `await`, `return` and use `?`.
///
/// ```
/// # use durable::{Context, Error, EventName};
/// # use std::time::Duration;
/// const APPROVAL: EventName<bool> = EventName::new("Approval");
/// async fn approved(ctx: &Context) -> Result<bool, Error> {
///     durable::select! {
///         decision = ctx.event(&APPROVAL) => Ok(decision?),
///         _ = ctx.timer(Duration::from_secs(86_400)) => Ok(false),
///     }
/// }
/// ```
#[macro_export]
macro_rules! select {
    ($p0:pat = $f0:expr => $b0:expr, $p1:pat = $f1:expr => $b1:expr $(,)?) => {{
        let (f0, f1) = ($f0, $f1);
        let first = $crate::select_boxed(::std::vec![
            $crate::boxed(async move { $crate::branches::Of2::A(f0.await) }),
            $crate::boxed(async move { $crate::branches::Of2::B(f1.await) }),
        ])
        .await;
        match first {
            $crate::branches::Of2::A($p0) => $b0,
            $crate::branches::Of2::B($p1) => $b1,
        }
    }};
    ($p0:pat = $f0:expr => $b0:expr, $p1:pat = $f1:expr => $b1:expr, $p2:pat = $f2:expr => $b2:expr $(,)?) => {{
        let (f0, f1, f2) = ($f0, $f1, $f2);
        let first = $crate::select_boxed(::std::vec![
            $crate::boxed(async move { $crate::branches::Of3::A(f0.await) }),
            $crate::boxed(async move { $crate::branches::Of3::B(f1.await) }),
            $crate::boxed(async move { $crate::branches::Of3::C(f2.await) }),
        ])
        .await;
        match first {
            $crate::branches::Of3::A($p0) => $b0,
            $crate::branches::Of3::B($p1) => $b1,
            $crate::branches::Of3::C($p2) => $b2,
        }
    }};
    ($p0:pat = $f0:expr => $b0:expr, $p1:pat = $f1:expr => $b1:expr, $p2:pat = $f2:expr => $b2:expr, $p3:pat = $f3:expr => $b3:expr $(,)?) => {{
        let (f0, f1, f2, f3) = ($f0, $f1, $f2, $f3);
        let first = $crate::select_boxed(::std::vec![
            $crate::boxed(async move { $crate::branches::Of4::A(f0.await) }),
            $crate::boxed(async move { $crate::branches::Of4::B(f1.await) }),
            $crate::boxed(async move { $crate::branches::Of4::C(f2.await) }),
            $crate::boxed(async move { $crate::branches::Of4::D(f3.await) }),
        ])
        .await;
        match first {
            $crate::branches::Of4::A($p0) => $b0,
            $crate::branches::Of4::B($p1) => $b1,
            $crate::branches::Of4::C($p2) => $b2,
            $crate::branches::Of4::D($p3) => $b3,
        }
    }};
    ($p0:pat = $f0:expr => $b0:expr, $p1:pat = $f1:expr => $b1:expr, $p2:pat = $f2:expr => $b2:expr, $p3:pat = $f3:expr => $b3:expr, $p4:pat = $f4:expr => $b4:expr $(,)?) => {{
        let (f0, f1, f2, f3, f4) = ($f0, $f1, $f2, $f3, $f4);
        let first = $crate::select_boxed(::std::vec![
            $crate::boxed(async move { $crate::branches::Of5::A(f0.await) }),
            $crate::boxed(async move { $crate::branches::Of5::B(f1.await) }),
            $crate::boxed(async move { $crate::branches::Of5::C(f2.await) }),
            $crate::boxed(async move { $crate::branches::Of5::D(f3.await) }),
            $crate::boxed(async move { $crate::branches::Of5::E(f4.await) }),
        ])
        .await;
        match first {
            $crate::branches::Of5::A($p0) => $b0,
            $crate::branches::Of5::B($p1) => $b1,
            $crate::branches::Of5::C($p2) => $b2,
            $crate::branches::Of5::D($p3) => $b3,
            $crate::branches::Of5::E($p4) => $b4,
        }
    }};
    ($p0:pat = $f0:expr => $b0:expr, $p1:pat = $f1:expr => $b1:expr, $p2:pat = $f2:expr => $b2:expr, $p3:pat = $f3:expr => $b3:expr, $p4:pat = $f4:expr => $b4:expr, $p5:pat = $f5:expr => $b5:expr $(,)?) => {{
        let (f0, f1, f2, f3, f4, f5) = ($f0, $f1, $f2, $f3, $f4, $f5);
        let first = $crate::select_boxed(::std::vec![
            $crate::boxed(async move { $crate::branches::Of6::A(f0.await) }),
            $crate::boxed(async move { $crate::branches::Of6::B(f1.await) }),
            $crate::boxed(async move { $crate::branches::Of6::C(f2.await) }),
            $crate::boxed(async move { $crate::branches::Of6::D(f3.await) }),
            $crate::boxed(async move { $crate::branches::Of6::E(f4.await) }),
            $crate::boxed(async move { $crate::branches::Of6::F(f5.await) }),
        ])
        .await;
        match first {
            $crate::branches::Of6::A($p0) => $b0,
            $crate::branches::Of6::B($p1) => $b1,
            $crate::branches::Of6::C($p2) => $b2,
            $crate::branches::Of6::D($p3) => $b3,
            $crate::branches::Of6::E($p4) => $b4,
            $crate::branches::Of6::F($p5) => $b5,
        }
    }};
}
