//! The only way to an actor, and the only module that knows actix.
//!
//! An [`Actor`] here is a state and one kind of message. Its mailbox holds at most as many messages as it was
//! opened with. A sender that finds the mailbox full either waits ([`Mailbox::deliver`]) or is refused
//! ([`Mailbox::tell`]). actix's own `send` and `do_send` queue past every capacity, so nothing else calls
//! them. A panic while a message is handled is caught: the actor is told ([`Actor::panicked`]) and ends; its
//! thread goes on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use actix::{ActorContext as _, AsyncContext as _, Handler, Recipient, SpawnHandle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::pool::words;

/// A state that takes messages, one at a time.
pub(crate) trait Actor: Sized + Unpin + 'static {
    /// What the actor is told.
    type Message: Send + 'static;

    /// Handles a message. It runs on the actors' thread: it must neither block nor compute.
    fn on(&mut self, message: Self::Message, context: &mut Context<'_, Self>);

    /// `on` panicked with `words`. The actor ends after this call.
    fn panicked(&mut self, words: &str);
}

/// The mailbox of an actor that takes messages of type `M`. Clones lead to the same actor, which ends when
/// the last clone is dropped.
pub(crate) struct Mailbox<M: Send + 'static> {
    actor: Recipient<Envelope<M>>,
    room: Arc<Semaphore>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undelivered {
    /// The actor has ended.
    #[error("the receiver has ended")]
    Gone,
    /// The mailbox is full.
    #[error("the receiver's mailbox is full")]
    Full,
}

/// Starts `actor` on this thread with a mailbox for `capacity` messages.
///
/// # Panics
/// Outside an actix system.
pub(crate) fn open<A: Actor>(actor: A, capacity: usize) -> Mailbox<A::Message> {
    let room = Arc::new(Semaphore::new(capacity));
    let shell_room = Arc::clone(&room);
    let address = actix::Actor::create(|context: &mut actix::Context<ActorShell<A>>| {
        // Never the limit: a message needs a permit first.
        context.set_mailbox_capacity(2 * capacity);
        ActorShell { actor, room: shell_room }
    });
    Mailbox { actor: address.recipient(), room }
}

impl<M: Send + 'static> Mailbox<M> {
    /// Leaves a message, and waits while the mailbox is full.
    ///
    /// # Errors
    /// [`Undelivered::Gone`].
    ///
    /// # Cancel safety
    /// Cancel-safe: the message is either delivered or dropped.
    pub(crate) async fn deliver(&self, message: M) -> Result<(), Undelivered> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Undelivered::Gone)?;
        self.put(message, permit)
    }

    /// Leaves a message if there is room for it now.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub(crate) fn tell(&self, message: M) -> Result<(), Undelivered> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::Closed => Undelivered::Gone,
            TryAcquireError::NoPermits => Undelivered::Full,
        })?;
        self.put(message, permit)
    }

    fn put(&self, message: M, permit: OwnedSemaphorePermit) -> Result<(), Undelivered> {
        self.actor.try_send(Envelope { message, permit }).map_err(|_| Undelivered::Gone)
    }
}

impl<M: Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), room: Arc::clone(&self.room) }
    }
}

/// What an actor may ask for while it handles a message.
pub(crate) struct Context<'a, A: Actor> {
    context: &'a mut actix::Context<ActorShell<A>>,
    room: &'a Arc<Semaphore>,
}

/// A message that comes later; see [`Context::after`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm(SpawnHandle);

impl<A: Actor> Context<'_, A> {
    /// The actor's own mailbox, for others to write to.
    pub(crate) fn mailbox(&self) -> Mailbox<A::Message> {
        Mailbox { actor: self.context.address().recipient(), room: Arc::clone(self.room) }
    }

    /// Has `message` handled after `wait`. It takes no room in the mailbox.
    pub(crate) fn after(&mut self, wait: Duration, message: A::Message) -> Alarm {
        Alarm(self.context.run_later(wait, |shell, context| shell.take(message, context)))
    }

    /// Takes an alarm back.
    pub(crate) fn silence(&mut self, alarm: Alarm) {
        self.context.cancel_future(alarm.0);
    }

    /// Ends the actor once `on` has returned. Messages that are still in the mailbox are dropped.
    pub(crate) fn close(&mut self) {
        self.context.stop();
    }
}

/// An actor as actix sees it.
struct ActorShell<A> {
    actor: A,
    room: Arc<Semaphore>,
}

/// A message and its room in the mailbox.
struct Envelope<M> {
    message: M,
    permit: OwnedSemaphorePermit,
}

impl<M: Send + 'static> actix::Message for Envelope<M> {
    type Result = ();
}

impl<A: Actor> actix::Actor for ActorShell<A> {
    type Context = actix::Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        // Senders that wait for room are told that the actor has ended.
        self.room.close();
    }
}

impl<A: Actor> Handler<Envelope<A::Message>> for ActorShell<A> {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<A::Message>, context: &mut Self::Context) {
        self.take(envelope.message, context);
        drop(envelope.permit);
    }
}

impl<A: Actor> ActorShell<A> {
    fn take(&mut self, message: A::Message, context: &mut actix::Context<Self>) {
        let Self { actor, room } = self;
        let mut own = Context { context, room };
        let handled = catch_unwind(AssertUnwindSafe(|| actor.on(message, &mut own)));
        if let Err(panic) = handled {
            actor.panicked(&words(&*panic));
            context.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Echo(mpsc::Sender<String>);

    impl Actor for Echo {
        type Message = &'static str;

        fn on(&mut self, message: &'static str, context: &mut Context<'_, Self>) {
            match message {
                "panic" => panic!("asked to"),
                "later" => drop(context.after(Duration::from_millis(1), "now")),
                "close" => context.close(),
                message => self.0.send(message.to_owned()).unwrap(),
            }
        }

        fn panicked(&mut self, words: &str) {
            self.0.send(format!("panicked: {words}")).unwrap();
        }
    }

    fn run<T>(test: impl AsyncFnOnce(Mailbox<&'static str>, mpsc::Receiver<String>) -> T) -> T {
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
    fn panic_ends_the_actor_and_nobody_waits_for_it() {
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
    fn alarm_is_a_message_that_comes_later() {
        run(async |mailbox, heard| {
            mailbox.tell("later").unwrap();
            assert_eq!(next(&heard).await, "now");
        });
    }
}
