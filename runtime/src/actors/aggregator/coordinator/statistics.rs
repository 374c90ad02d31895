//! The statistics of the sites' data, before the first round: asking, storing, telling.

use fl_engine::{
    round::Effect,
    wire::{AskSums, Message, Statistics},
};

use super::{Coordinator, SessionMessage, StoreJob};
use crate::observe;

impl Coordinator {
    pub(super) fn carry_out_statistics(&mut self, effect: Effect) {
        match effect {
            Effect::AskSums { peer } => {
                let ask = Message::AskSums(AskSums { incarnation: self.engine.incarnation() });
                self.peers.tell(&peer, SessionMessage::Say(ask));
            }
            Effect::SumsRefused { peer, fault } => {
                if self.peers.may_log(&peer, self.clock.now()) {
                    tracing::warn!(collaborator = %peer, "refused the statistics of {peer}: {fault}");
                }
            }
            Effect::CollectingAgain { times, have, need, missing, refused } => tracing::warn!(
                "{have} of the {need} sites that are needed have sent the sums of their data at the deadline. The aggregator \
                 waits again (number {times}){}{}",
                observe::after_words("no answer of ", &missing),
                observe::after_words("refused: ", &refused)
            ),
            Effect::StoreStatistics(facts) => {
                let sites = facts.collaborators.len();
                tracing::info!("the mean and the deviation of each feature are known, from {sites} sites");
                self.store(StoreJob::Statistics { facts });
            }
            Effect::Statistics { peer, statistics } => {
                let column = |at| (statistics.mean_of(at), statistics.std_of(at));
                let columns: Vec<(f64, f64)> = (0..statistics.mean.len()).map(column).collect();
                for part in Statistics::parts(&columns) {
                    self.peers.tell(&peer, SessionMessage::Say(Message::Statistics(part)));
                }
            }
            other => tracing::error!(
                "internal error: the round engine asked for something that this build cannot do: {other:?}"
            ),
        }
    }
}
