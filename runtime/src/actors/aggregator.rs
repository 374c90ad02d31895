//! The aggregator's side: a [`coordinator`] with a [`session`] for each link, a task that aggregates
//! ([`aggregation_task`]) and a thread for the store ([`store_thread`]).

pub(crate) mod aggregation_task;
pub(crate) mod coordinator;
pub(crate) mod log_ration;
mod round_report;
mod session;
pub(crate) mod store_thread;
pub(crate) mod upload;
mod window;

#[cfg(test)]
mod tests;
