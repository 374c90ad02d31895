//! Accepts connections: a task for each peer shakes hands and lets the greeter check the peer.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed};

use super::{log_ration::LogRation, messages::AggregatorMessage};
use crate::{
    actors::{
        greeting::{self, Greeter},
        mailbox::Mailbox,
    },
    net::Endpoint,
    system::Clock,
};

/// Accepts connections until the endpoint is closed. Tells `aggregator` of each collaborator that was
/// admitted.
///
/// # Cancel safety
/// Cancel-safe: peers that are being checked are checked to the end.
pub(crate) async fn accept(
    clock: Clock,
    endpoint: Endpoint,
    greeter: Arc<Greeter>,
    aggregator: Mailbox<AggregatorMessage>,
) {
    let ration = Arc::new(Mutex::new(LogRation::default()));
    while let Some(incoming) = endpoint.accept().await {
        let (greeter, aggregator, ration) = (Arc::clone(&greeter), aggregator.clone(), Arc::clone(&ration));
        let clock = clock.clone();
        tokio::spawn(async move {
            let address = incoming.remote_address();
            let link = match incoming.admit().await {
                Ok(link) => link,
                Err(error) => {
                    greeter.refused.fetch_add(1, Relaxed);
                    tracing::debug!("handshake with {address} failed: {error}");
                    return;
                }
            };
            match greeting::welcome(link, &greeter).await {
                // The aggregator is gone only when the process ends.
                Ok(admitted) => drop(aggregator.deliver(AggregatorMessage::Admitted(admitted)).await),
                Err(why) => {
                    greeter.refused.fetch_add(1, Relaxed);
                    let spoken = ration.lock().unwrap_or_else(PoisonError::into_inner).take(clock.now());
                    match spoken {
                        Some(0) => tracing::warn!("closed the connection from {address}: {why}"),
                        Some(unsaid) => {
                            tracing::warn!(
                                "closed the connection from {address}, and {unsaid} others since the last such line: {why}"
                            )
                        }
                        None => {}
                    }
                }
            }
        });
    }
}
