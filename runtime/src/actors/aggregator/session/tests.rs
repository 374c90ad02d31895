use fl_engine::wire::Verdict;

use super::*;
use crate::net::Link;

#[tokio::test(start_paused = true)]
async fn collaborator_that_is_too_slow_for_the_model_still_hears_the_end() {
    let (mut there, here) = Link::pair(Vec::new(), Vec::new());
    let (sender, _receiver, handle) = here.split();
    let (outbox, queue) = mpsc::channel(1);
    tokio::spawn(write(sender, queue, handle));
    let last = Message::Finished(Verdict::Stopped);
    let sending = tokio::spawn(std::future::pending());
    assert!(outbox.send(Outgoing::Last(wire::encode(&last), Some(sending))).await.is_ok());
    let heard = there.recv_envelope().await.map(|envelope| wire::decode(&envelope).unwrap());
    assert_eq!(heard, Ok(Some(last)));
}
