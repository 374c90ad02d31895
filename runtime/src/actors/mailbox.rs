//! The only way to an actor, and the only module that knows actix.
//!
//! An actor here is a [`Role`]: a state and one kind of news. Its mailbox holds at most as many letters as it was
//! opened with; whoever has more to say waits ([`Mailbox::deliver`]) or is refused ([`Mailbox::tell`]). actix's own
//! `send` and `do_send` queue past every capacity, so nothing else calls them. A panic while news is handled is
//! caught: it costs the role its life in an orderly way, never the thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, SpawnHandle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::pool::words;

/// What an actor is and does.
pub(crate) trait Role: Sized + Unpin + 'static {
    /// What it is told.
    type News: Send + 'static;

    /// Takes news in. It runs on the actors' thread: it must neither block nor compute.
    fn on(&mut self, news: Self::News, desk: &mut Desk<'_, Self>);

    /// `on` panicked; the role ends after this.
    fn panicked(&mut self, words: &str);
}

/// A role's mailbox. Clones lead to the same one.
pub(crate) struct Mailbox<R: Role> {
    addr: Addr<Office<R>>,
    room: Arc<Semaphore>,
}

/// Why news was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undelivered {
    /// The role has ended.
    #[error("the receiver has ended")]
    Gone,
    /// The mailbox is full.
    #[error("the receiver's mailbox is full")]
    Full,
}

/// Starts `role` on this thread with a mailbox of `capacity` letters.
///
/// # Panics
/// Outside an actix system.
pub(crate) fn open<R: Role>(role: R, capacity: usize) -> Mailbox<R> {
    let room = Arc::new(Semaphore::new(capacity));
    let office_room = Arc::clone(&room);
    let addr = Office::create(|context| {
        // Never the limit: a letter needs a permit first.
        context.set_mailbox_capacity(2 * capacity);
        Office { role, room: office_room }
    });
    Mailbox { addr, room }
}

impl<R: Role> Mailbox<R> {
    /// Leaves news, waiting while the mailbox is full.
    ///
    /// # Errors
    /// [`Undelivered::Gone`].
    ///
    /// # Cancel safety
    /// Cancel-safe: the news is either delivered or dropped.
    pub(crate) async fn deliver(&self, news: R::News) -> Result<(), Undelivered> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Undelivered::Gone)?;
        self.put(news, permit)
    }

    /// Leaves news if there is room for it now.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub(crate) fn tell(&self, news: R::News) -> Result<(), Undelivered> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::Closed => Undelivered::Gone,
            TryAcquireError::NoPermits => Undelivered::Full,
        })?;
        self.put(news, permit)
    }

    fn put(&self, news: R::News, permit: OwnedSemaphorePermit) -> Result<(), Undelivered> {
        self.addr.try_send(Letter { news, permit }).map_err(|_| Undelivered::Gone)
    }
}

impl<R: Role> Clone for Mailbox<R> {
    fn clone(&self) -> Self {
        Self { addr: self.addr.clone(), room: Arc::clone(&self.room) }
    }
}

/// What a role may ask of its surroundings.
pub(crate) struct Desk<'a, R: Role> {
    context: &'a mut Context<Office<R>>,
    room: &'a Arc<Semaphore>,
}

/// News to come; see [`Desk::after`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm(SpawnHandle);

impl<R: Role> Desk<'_, R> {
    /// The role's own mailbox, for others to write to.
    pub(crate) fn mailbox(&self) -> Mailbox<R> {
        Mailbox { addr: self.context.address(), room: Arc::clone(self.room) }
    }

    /// Has `news` handled when `wait` is over.
    pub(crate) fn after(&mut self, wait: Duration, news: R::News) -> Alarm {
        Alarm(self.context.run_later(wait, |office, context| office.handle_news(news, context)))
    }

    /// Takes an alarm back.
    pub(crate) fn silence(&mut self, alarm: Alarm) {
        self.context.cancel_future(alarm.0);
    }

    /// Ends the role once `on` has returned; letters that still lie in the mailbox are dropped.
    pub(crate) fn close(&mut self) {
        self.context.stop();
    }
}

/// Where a role sits: what actix sees of it.
struct Office<R> {
    role: R,
    room: Arc<Semaphore>,
}

struct Letter<N> {
    news: N,
    permit: OwnedSemaphorePermit,
}

impl<N: Send + 'static> Message for Letter<N> {
    type Result = ();
}

impl<R: Role> Actor for Office<R> {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        // Whoever waits for room waits no longer.
        self.room.close();
    }
}

impl<R: Role> Handler<Letter<R::News>> for Office<R> {
    type Result = ();

    fn handle(&mut self, letter: Letter<R::News>, context: &mut Self::Context) {
        self.handle_news(letter.news, context);
        drop(letter.permit);
    }
}

impl<R: Role> Office<R> {
    fn handle_news(&mut self, news: R::News, context: &mut Context<Self>) {
        let Self { role, room } = self;
        let mut desk = Desk { context, room };
        let handled = catch_unwind(AssertUnwindSafe(|| role.on(news, &mut desk)));
        if let Err(panic) = handled {
            role.panicked(&words(&*panic));
            context.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Echo(mpsc::Sender<String>);

    impl Role for Echo {
        type News = &'static str;

        fn on(&mut self, news: &'static str, desk: &mut Desk<'_, Self>) {
            match news {
                "panic" => panic!("asked to"),
                "later" => drop(desk.after(Duration::from_millis(1), "now")),
                "close" => desk.close(),
                news => self.0.send(news.to_owned()).unwrap(),
            }
        }

        fn panicked(&mut self, words: &str) {
            self.0.send(format!("panicked: {words}")).unwrap();
        }
    }

    fn run<T>(test: impl AsyncFnOnce(Mailbox<Echo>, mpsc::Receiver<String>) -> T) -> T {
        actix::System::new().block_on(async {
            let (said, heard) = mpsc::channel();
            test(open(Echo(said), 2), heard).await
        })
    }

    async fn next(heard: &mpsc::Receiver<String>) -> String {
        loop {
            match heard.try_recv() {
                Ok(said) => return said,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    #[test]
    fn full_mailbox_refuses_and_makes_wait() {
        run(async |mailbox, heard| {
            // The actor runs on this thread: nothing is taken out before an await.
            mailbox.tell("a").unwrap();
            mailbox.tell("b").unwrap();
            assert_eq!(mailbox.tell("c"), Err(Undelivered::Full));
            mailbox.deliver("d").await.unwrap();
            for said in ["a", "b", "d"] {
                assert_eq!(next(&heard).await, said);
            }
        });
    }

    #[test]
    fn panic_ends_the_role_and_nobody_waits_for_it() {
        run(async |mailbox, heard| {
            mailbox.tell("panic").unwrap();
            assert_eq!(next(&heard).await, "panicked: asked to");
            while mailbox.deliver("x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(mailbox.deliver("x").await, Err(Undelivered::Gone));
            assert_eq!(mailbox.tell("x"), Err(Undelivered::Gone));
        });
    }

    #[test]
    fn alarm_is_news_to_come() {
        run(async |mailbox, heard| {
            mailbox.tell("later").unwrap();
            assert_eq!(next(&heard).await, "now");
        });
    }
}
